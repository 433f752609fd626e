// Kernel "rows" without vectors: distances and masks of consecutive rows, one code at a time.
//
// Contract: kernels.h. Included after rows.inl, which gives the distance of a pair and the choice by width.

template <std::int64_t Bytes>
static void distances_fixed(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                            const std::uint8_t* query, std::int32_t* out) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = distance<Bytes>(rows + i * bytes, query, bytes);
}

template <std::int64_t Bytes>
static bool rows_within_fixed(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                              const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask) {
    std::uint64_t any = 0;
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        const std::int64_t left = n - word * 64;
        const std::int64_t count = left < 64 ? left : 64;
        std::uint64_t hits = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int32_t d = distance<Bytes>(rows + (word * 64 + i) * bytes, query, bytes);
            hits |= static_cast<std::uint64_t>(d <= bound) << i;
        }
        mask[word] = hits;
        any |= hits;
    }
    return any != 0;
}

static void distances_each(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                           const std::uint8_t* query, std::int32_t* out) {
    DMTH_FAST_BY_WIDTH(distances_fixed, rows, n, bytes, query, out)
}

static bool rows_within_each(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                             const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask) {
    DMTH_FAST_BY_WIDTH(rows_within_fixed, rows, n, bytes, query, bound, mask)
}
