// Kernel "rows" with VPOPCNTQ: eight codes at a time over row-major codes.
//
// Contract: kernels.h. Included inside the target region of avx512.cpp, after rows.inl.
// Reason: for few queries the codes cannot be brought into another layout in the time that reading them
// takes. Codes of any width are spread to slots of 8, 16, 32 or 64 bytes by one byte permutation (none where
// the width is the slot), so there is no cliff between widths; masked loads end at the last byte. Sums of a
// slot's words meet in a tree of unpacking and adding that yields eight distances in order. Codes beyond 64
// bytes are added in pieces. Cost: for codes of 8 bytes a load, xor, popcount and compare for eight codes.
// Bound: two loads of 32 bytes a cycle, so 64 bytes or eight codes a cycle in cache. Measured on Zen 4, one
// query and thread: 11 G rows of 8 bytes a second (2.6 cycles for eight), 7.5 of 4
// and 6 bytes, 4.5 of 16, 1.6 of 32; from memory (10 M codes of 8 bytes) at the rate of a memory-read probe.

// Bytes of `count` codes of `bytes` bytes each, at most 64.
DMTH_FAST_INLINE __mmask64 mask_of(std::int64_t bytes) {
    return bytes <= 0 ? 0 : bytes >= 64 ? ~__mmask64{0} : (__mmask64{1} << bytes) - 1;
}

// How codes are spread to slots: byte b of slot s is byte s * bytes + b, or zero.
struct Spread {
    __m512i index;
    __mmask64 keep;
    __m512i query;
};

// Byte i of the slots: its place in its slot, and the number of its slot.
template <int Slot>
struct SlotBytes {
    alignas(64) std::uint8_t place[64];
    alignas(64) std::uint8_t slot[64];

    constexpr SlotBytes() : place(), slot() {
        for (int i = 0; i < 64; ++i) {
            place[i] = static_cast<std::uint8_t>(i % Slot);
            slot[i] = static_cast<std::uint8_t>(i / Slot);
        }
    }
};

template <int Slot>
DMTH_FAST_INLINE Spread spread_of(std::int64_t bytes, const std::uint8_t* query) {
    static constexpr SlotBytes<Slot> table;
    const __m512i place = _mm512_load_si512(table.place);
    const __mmask64 keep = _mm512_cmplt_epu8_mask(place, _mm512_set1_epi8(static_cast<char>(bytes)));
    // Products stay below 64, so a multiplication of 16 bits multiplies two bytes.
    const __m512i start =
        _mm512_mullo_epi16(_mm512_load_si512(table.slot), _mm512_set1_epi16(static_cast<short>(bytes)));
    const __m512i code = _mm512_maskz_loadu_epi8(mask_of(bytes), query);
    return {_mm512_add_epi8(start, place), keep, _mm512_maskz_permutexvar_epi8(keep, place, code)};
}

// Popcounts of the words of 64 / Slot codes, `left` of which exist.
template <int Slot, bool Exact>
DMTH_FAST_INLINE __m512i slots(const std::uint8_t* rows, std::int64_t left, std::int64_t bytes,
                               const Spread& spread) {
    constexpr std::int64_t most = 64 / Slot;
    const __mmask64 mask = mask_of((left < most ? left : most) * bytes);
    __m512i codes = _mm512_maskz_loadu_epi8(mask, rows);
    if constexpr (!Exact) codes = _mm512_maskz_permutexvar_epi8(spread.keep, spread.index, codes);
    return _mm512_popcnt_epi64(_mm512_xor_si512(codes, spread.query));
}

DMTH_FAST_INLINE __m512i pair_sums(__m512i a, __m512i b) {
    return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
DMTH_FAST_INLINE __m512i lane_sums(__m512i a, __m512i b) {
    return _mm512_add_epi64(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
}

// Distances of eight codes in order; what lies beyond the first `left` is unspecified.
template <int Slot, bool Exact>
DMTH_FAST_INLINE __m512i eight(const std::uint8_t* rows, std::int64_t left, std::int64_t bytes,
                               const Spread& spread, const std::uint8_t* query) {
    if constexpr (Slot == 8) {
        return slots<8, Exact>(rows, left, bytes, spread);
    } else if constexpr (Slot == 16) {
        const __m512i a = slots<16, Exact>(rows, left, bytes, spread);
        const __m512i b = slots<16, Exact>(rows + 4 * bytes, left - 4, bytes, spread);
        return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), pair_sums(a, b));
    } else if constexpr (Slot == 32) {
        const __m512i a = slots<32, Exact>(rows, left, bytes, spread);
        const __m512i b = slots<32, Exact>(rows + 2 * bytes, left - 2, bytes, spread);
        const __m512i c = slots<32, Exact>(rows + 4 * bytes, left - 4, bytes, spread);
        const __m512i d = slots<32, Exact>(rows + 6 * bytes, left - 6, bytes, spread);
        return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 1, 3, 4, 6, 5, 7),
                                        lane_sums(pair_sums(a, b), pair_sums(c, d)));
    } else {
        __m512i sums[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            sums[i] = zero();
            if (i >= left) continue;
            const std::uint8_t* row = rows + i * bytes;
            if constexpr (Exact) {
                const __m512i code = _mm512_loadu_si512(rows + i * 64);
                sums[i] = _mm512_popcnt_epi64(_mm512_xor_si512(code, spread.query));
                continue;
            }
            std::int64_t at = 0;
            for (; at + 64 <= bytes; at += 64) {
                const __m512i code = _mm512_loadu_si512(row + at);
                const __m512i differ = _mm512_xor_si512(code, _mm512_loadu_si512(query + at));
                sums[i] = _mm512_add_epi64(sums[i], _mm512_popcnt_epi64(differ));
            }
            const __mmask64 mask = mask_of(bytes - at);
            const __m512i code = _mm512_maskz_loadu_epi8(mask, row + at);
            const __m512i differ = _mm512_xor_si512(code, _mm512_maskz_loadu_epi8(mask, query + at));
            sums[i] = _mm512_add_epi64(sums[i], _mm512_popcnt_epi64(differ));
        }
        return lane_sums(lane_sums(pair_sums(sums[0], sums[1]), pair_sums(sums[2], sums[3])),
                         lane_sums(pair_sums(sums[4], sums[5]), pair_sums(sums[6], sums[7])));
    }
}

template <int Slot, bool Exact>
static void distances_eight(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                            const std::uint8_t* query, std::int32_t* out) {
    const Spread spread = spread_of<Slot>(bytes, query);
    for (std::int64_t i = 0; i < n; i += 8) {
        const __m512i d = eight<Slot, Exact>(rows + i * bytes, n - i, bytes, spread, query);
        const auto exist = static_cast<__mmask8>(n - i < 8 ? (1 << (n - i)) - 1 : 255);
        _mm512_mask_cvtepi64_storeu_epi32(out + i, exist, d);
    }
}

template <int Slot, bool Exact>
static bool rows_within_eight(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                              const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask) {
    const Spread spread = spread_of<Slot>(bytes, query);
    const __m512i most = _mm512_set1_epi64(bound);
    std::uint64_t any = 0;
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        std::uint64_t hits = 0;
        const std::int64_t first = word * 64;
        const std::int64_t left = n - first;
        if (left >= 64) {
#pragma GCC unroll 8
            for (int byte = 0; byte < 8; ++byte) {
                const __m512i d =
                    eight<Slot, Exact>(rows + (first + byte * 8) * bytes, 8, bytes, spread, query);
                hits |= static_cast<std::uint64_t>(_mm512_cmple_epi64_mask(d, most)) << (8 * byte);
            }
        } else {
            for (int byte = 0; byte * 8 < left; ++byte) {
                const std::int64_t some = left - byte * 8 < 8 ? left - byte * 8 : 8;
                const __m512i d =
                    eight<Slot, Exact>(rows + (first + byte * 8) * bytes, some, bytes, spread, query);
                const auto exist = static_cast<__mmask8>((1 << some) - 1);
                hits |= static_cast<std::uint64_t>(_mm512_mask_cmple_epi64_mask(exist, d, most))
                        << (8 * byte);
            }
        }
        mask[word] = hits;
        any |= hits;
    }
    return any != 0;
}

#define DMTH_FAST_BY_SLOT(function, ...)                     \
    if (bytes == 8) return function<8, true>(__VA_ARGS__);   \
    if (bytes < 8) return function<8, false>(__VA_ARGS__);   \
    if (bytes == 16) return function<16, true>(__VA_ARGS__); \
    if (bytes < 16) return function<16, false>(__VA_ARGS__); \
    if (bytes == 32) return function<32, true>(__VA_ARGS__); \
    if (bytes < 32) return function<32, false>(__VA_ARGS__); \
    if (bytes == 64) return function<64, true>(__VA_ARGS__); \
    return function<64, false>(__VA_ARGS__)

static void distances_any_width(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                                const std::uint8_t* query, std::int32_t* out) {
    DMTH_FAST_BY_SLOT(distances_eight, rows, n, bytes, query, out);
}

static bool rows_within_any_width(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                                  const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask) {
    DMTH_FAST_BY_SLOT(rows_within_eight, rows, n, bytes, query, bound, mask);
}

#undef DMTH_FAST_BY_SLOT
