// Kernel "transpose" without byte shuffles: 64 rows of 8 bytes to 64 words, in 64-bit arithmetic.
//
// Contract: transpose.inl. Included by the instruction sets without a faster way.
// Cost: 18 operations for 8 rows and 8 planes, and the collection of their bytes.

// Bits of an 8 x 8 square, a byte a row, mirrored at the diagonal: blocks of 1, 2 and 4 change places.
DMTH_FAST_INLINE std::uint64_t mirror(std::uint64_t x) {
    std::uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aau;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000ccccu;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0u;
    return x ^ t ^ (t << 28);
}

static void transpose_64x8(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    for (std::int64_t byte = 0; byte * 8 < planes; ++byte) {
        std::uint64_t words[8] = {};
        for (int eight = 0; eight < 8; ++eight) {
            std::uint64_t square = 0;
            for (int i = 0; i < 8; ++i) {
                square |= static_cast<std::uint64_t>(rows[(eight * 8 + i) * 8 + byte]) << (8 * i);
            }
            square = mirror(square);
            for (int j = 0; j < 8; ++j) words[j] |= (square >> (8 * j) & 255) << (8 * eight);
        }
        for (int j = 0; j < 8; ++j) out[(byte * 8 + j) * kBlockWords] = words[j];
    }
}

static void transpose_column(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    for (std::int64_t word = 0; word < kBlockWords; ++word)
        transpose_64x8(rows + word * 512, planes, out + word);
}

static bool transpose_whole(const std::uint8_t*, std::int64_t, std::uint64_t*) {
    return false;
}
