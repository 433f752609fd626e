// Kernel "extract": the numbers of the rows that a block's mask holds.
//
// Contract: kernels.h. Included inside the target region of each instruction set.
// Reason. Most words of a mask hold no row or one, which a loop's branch cannot foretell: so two rows are
// written from each word whether they exist or not, and only a word of more takes a loop.

static std::int64_t extract(const std::uint64_t* mask, std::uint32_t first, std::uint32_t* rows) {
    std::int64_t n = 0;
    for (std::int64_t word = 0; word < kBlockWords; ++word, first += 64) {
        std::uint64_t left = mask[word];
        const auto count = popcount64(left);
        // A set bit beyond the word spares the test for none; its row is not counted.
        rows[n] = first + static_cast<std::uint32_t>(left == 0 ? 0 : __builtin_ctzll(left));
        left &= left - 1;
        rows[n + 1] = first + static_cast<std::uint32_t>(left == 0 ? 0 : __builtin_ctzll(left));
        std::int64_t at = n + 2;
        for (left &= left - 1; left != 0; left &= left - 1) {
            rows[at++] = first + static_cast<std::uint32_t>(__builtin_ctzll(left));
        }
        n += count;
    }
    return n;
}
