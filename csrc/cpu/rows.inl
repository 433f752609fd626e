// Kernel "rows": one code at a time over row-major codes.
//
// Contract: kernels.h. Included inside the target region of each instruction set, which gives `popcount64`.
// Reason: it needs no preparation of the codes, so it serves few queries, the distances of single rows and
// every width. Rows of 4, 8, 16, 32 and 64 bytes get an unrolled body, the rest a loop over words with a
// masked tail. Cost: one load, xor, popcount and add for each 8 bytes. Measured through range_count, 65,536
// codes of 8 bytes, one query and thread: .58 G rows a second without a popcount instruction.

static inline std::uint64_t load_word(const std::uint8_t* p) {
    std::uint64_t word;
    __builtin_memcpy(&word, p, 8);
    return word;
}

static inline std::uint64_t load_tail(const std::uint8_t* p, std::int64_t bytes) {
    std::uint64_t word = 0;
    if (bytes & 4) {
        std::uint32_t part;
        __builtin_memcpy(&part, p, 4);
        word = part;
        p += 4;
    }
    if (bytes & 2) {
        std::uint16_t part;
        __builtin_memcpy(&part, p, 2);
        word |= static_cast<std::uint64_t>(part) << (bytes & 4) * 8;
        p += 2;
    }
    if (bytes & 1) word |= static_cast<std::uint64_t>(*p) << (bytes & 6) * 8;
    return word;
}

static inline std::int32_t distance_any(const std::uint8_t* a, const std::uint8_t* b, std::int64_t bytes) {
    std::int32_t sum = 0;
    std::int64_t at = 0;
    for (; at + 8 <= bytes; at += 8) sum += popcount64(load_word(a + at) ^ load_word(b + at));
    if (at < bytes) sum += popcount64(load_tail(a + at, bytes - at) ^ load_tail(b + at, bytes - at));
    return sum;
}

template <std::int64_t Bytes>
static inline std::int32_t distance(const std::uint8_t* a, const std::uint8_t* b, std::int64_t bytes) {
    return distance_any(a, b, Bytes > 0 ? Bytes : bytes);
}

template <std::int64_t Bytes>
static void distances_at_fixed(const std::uint8_t* rows, std::int64_t bytes, const std::uint32_t* index,
                               std::int64_t n, const std::uint8_t* query, std::int32_t* out) {
    for (std::int64_t i = 0; i < n; ++i) {
        out[i] = distance<Bytes>(rows + static_cast<std::int64_t>(index[i]) * bytes, query, bytes);
    }
}

#define DMTH_FAST_BY_WIDTH(function, ...)     \
    switch (bytes) {                          \
        case 4:                               \
            return function<4>(__VA_ARGS__);  \
        case 8:                               \
            return function<8>(__VA_ARGS__);  \
        case 16:                              \
            return function<16>(__VA_ARGS__); \
        case 32:                              \
            return function<32>(__VA_ARGS__); \
        case 64:                              \
            return function<64>(__VA_ARGS__); \
        default:                              \
            return function<0>(__VA_ARGS__);  \
    }

static void distances_at(const std::uint8_t* rows, std::int64_t bytes, const std::uint32_t* index,
                         std::int64_t n, const std::uint8_t* query, std::int32_t* out) {
    DMTH_FAST_BY_WIDTH(distances_at_fixed, rows, bytes, index, n, query, out)
}
