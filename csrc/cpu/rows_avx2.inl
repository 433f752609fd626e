// Kernel "rows" with AVX2: eight codes at a time over row-major codes.
//
// Contract: kernels.h. Included inside the target region of avx2.cpp, after rows.inl.
// Reason. A byte shuffle looks up the ones of 32 nibbles at once, and the counts of a code's bytes are summed
// across it: so eight distances, in order, come without a scalar popcount for each word. Codes below 16 bytes
// are spread to slots of 4, 8 or 16 bytes by one shuffle (none where the width is the slot); of wider ones
// whole vectors are counted, at most 16, so bytes hold the sums, and the last is masked. Loads may reach
// beyond a code: the last codes of a call are copied first.
// Cost: for 32 bytes of codes 7 operations to count, then a sum across bytes, and for eight codes 2 to 15 to
// bring their sums together: 22 for eight codes of 8 bytes. Zen 4, one query on 1 M codes: 3.9 G rows a
// second at 64 bits (.9 ns for eight, 3.4 operations a cycle), where a popcount instruction a word
// gave 1.3; 1.9 and .9 at 128, .74 and .61 at 256 bits, which is the memory's rate; 2.2 and .4 at 48 bits.

DMTH_FAST_INLINE __m256i load_bytes(const std::uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// Byte i of a lane: its place in its slot and the number of its slot; and the bytes of a vector, numbered.
template <int Slot>
struct SlotBytes {
    alignas(32) std::uint8_t place[32];
    alignas(32) std::uint8_t slot[32];
    alignas(32) std::uint8_t number[32];

    constexpr SlotBytes() : place(), slot(), number() {
        for (int i = 0; i < 32; ++i) {
            place[i] = static_cast<std::uint8_t>(i % Slot);
            slot[i] = static_cast<std::uint8_t>(i % 16 / Slot);
            number[i] = static_cast<std::uint8_t>(i);
        }
    }
};

// How codes are spread to slots, the query in them, and which bytes the last vector of a wide code has.
struct Spread {
    __m256i index;
    __m256i query;
    __m256i last;
};

template <int Slot>
DMTH_FAST_INLINE Spread spread_of(std::int64_t bytes, const std::uint8_t* query) {
    if constexpr (Slot == 32) {
        static constexpr SlotBytes<32> table;
        const __m256i left = _mm256_set1_epi8(static_cast<char>((bytes - 1) % 32 + 1));
        return {left, left, _mm256_cmpgt_epi8(left, load_bytes(table.number))};
    } else {
        static constexpr SlotBytes<Slot> table;
        const __m256i place = load_bytes(table.place);
        const __m256i width = _mm256_set1_epi8(static_cast<char>(bytes));
        // Products stay below 64, so a multiplication of 16 bits multiplies two bytes.
        const __m256i start =
            _mm256_mullo_epi16(load_bytes(table.slot), _mm256_set1_epi16(static_cast<short>(bytes)));
        const __m256i inside = _mm256_cmpgt_epi8(width, place);
        const __m256i index =
            _mm256_or_si256(_mm256_add_epi8(start, place), _mm256_xor_si256(inside, _mm256_set1_epi8(-1)));
        alignas(16) std::uint8_t code[16] = {};
        __builtin_memcpy(code, query, static_cast<std::size_t>(bytes));
        const __m128i asked = _mm_load_si128(reinterpret_cast<const __m128i*>(code));
        return {index, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(asked), place), width};
    }
}

// 32 bytes of codes in slots, the first of them `rows`, `step` bytes from lane to lane.
template <bool Exact>
DMTH_FAST_INLINE __m256i slots(const std::uint8_t* rows, std::int64_t step, const Spread& spread) {
    if constexpr (Exact) return load_bytes(rows);
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + step));
    return _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), spread.index);
}

DMTH_FAST_INLINE __m256i word_sums(__m256i counts) {
    return _mm256_sad_epu8(counts, _mm256_setzero_si256());
}
DMTH_FAST_INLINE __m256i pair_sums(__m256i a, __m256i b) {
    return _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}
// The low halves of the words of a and b, lane by lane.
DMTH_FAST_INLINE __m256i low_halves(__m256i a, __m256i b) {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}

// Distances of eight codes, in order. Wide codes read the query from `query`, which has whole vectors.
template <int Slot, bool Exact>
DMTH_FAST_INLINE __m256i eight(const std::uint8_t* rows, std::int64_t bytes, const Spread& spread,
                               const std::uint8_t* query) {
    const auto counts = [&](int first, int lane) __attribute__((always_inline)) {
        return byte_counts(
            _mm256_xor_si256(slots<Exact>(rows + first * bytes, lane * bytes, spread), spread.query));
    };
    if constexpr (Slot == 4) {
        const __m256i pairs = _mm256_maddubs_epi16(counts(0, 4), _mm256_set1_epi8(1));
        return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    } else if constexpr (Slot == 8) {
        const __m256i both = low_halves(word_sums(counts(0, 2)), word_sums(counts(4, 2)));
        return _mm256_permute4x64_epi64(both, 0xd8);
    } else if constexpr (Slot == 16) {
        const __m256i a = pair_sums(word_sums(counts(0, 1)), word_sums(counts(2, 1)));
        const __m256i b = pair_sums(word_sums(counts(4, 1)), word_sums(counts(6, 1)));
        return _mm256_permutevar8x32_epi32(low_halves(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    } else {
        __m256i sums[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            const std::uint8_t* row = rows + i * bytes;
            __m256i sum = _mm256_setzero_si256();
            std::int64_t at = 0;
            for (; at + 32 < bytes; at += 32) {
                sum = _mm256_add_epi8(
                    sum, byte_counts(_mm256_xor_si256(load_bytes(row + at), load_bytes(query + at))));
            }
            __m256i rest = load_bytes(row + at);
            if constexpr (!Exact) rest = _mm256_and_si256(rest, spread.last);
            rest = byte_counts(_mm256_xor_si256(rest, load_bytes(query + at)));
            sums[i] = word_sums(_mm256_add_epi8(sum, rest));
        }
        const __m256i a = low_halves(pair_sums(sums[0], sums[1]), pair_sums(sums[2], sums[3]));
        const __m256i b = low_halves(pair_sums(sums[4], sums[5]), pair_sums(sums[6], sums[7]));
        return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
    }
}

// visit(i, distances) for each eight codes from i on; those beyond n are unspecified.
template <int Slot, std::int64_t Bytes, class Visit>
DMTH_FAST_INLINE void for_eights(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                                 const std::uint8_t* query, const Visit& visit) {
    constexpr bool exact = Bytes > 0;  // no load reaches beyond a code
    constexpr std::int64_t beyond = exact ? 0 : 32;
    constexpr std::int64_t most = exact ? Bytes : Slot < 32 ? Slot : 512;
    if constexpr (exact) bytes = Bytes;
    alignas(32) std::uint8_t whole[Slot == 32 && !exact ? most : 1];
    const std::uint8_t* asked = query;
    if constexpr (Slot == 32 && !exact) {
        const std::int64_t last = (bytes - 1) / 32 * 32;
        for (std::int64_t at = 0; at < 32; ++at) whole[last + at] = 0;
        __builtin_memcpy(whole, query, static_cast<std::size_t>(bytes));
        asked = whole;
    }
    const Spread spread = spread_of<Slot>(bytes, query);
    std::int64_t i = 0;
    for (; (n - i - 8) * bytes >= beyond; i += 8) {
        visit(i, eight<Slot, exact>(rows + i * bytes, bytes, spread, asked));
    }
    if (i >= n) return;
    alignas(32) std::uint8_t copy[16 * most + 2 * beyond];
    __builtin_memcpy(copy, rows + i * bytes, static_cast<std::size_t>((n - i) * bytes));
    for (const std::uint8_t* row = copy; i < n; i += 8, row += 8 * bytes) {
        visit(i, eight<Slot, exact>(row, bytes, spread, asked));
    }
}

template <int Slot, std::int64_t Bytes>
static void distances_eight(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                            const std::uint8_t* query, std::int32_t* out) {
    for_eights<Slot, Bytes>(
        rows, n, bytes, query, [&](std::int64_t i, __m256i d) __attribute__((always_inline)) {
            if (n - i >= 8) {
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), d);
            } else {
                const __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                const __m256i exist = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n - i)), number);
                _mm256_maskstore_epi32(out + i, exist, d);
            }
        });
}

template <int Slot, std::int64_t Bytes>
static bool rows_within_eight(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                              const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask) {
    const __m256i limit = _mm256_set1_epi32(bound + 1);
    alignas(8) std::uint8_t hits[kBlockRows / 8];
    for_eights<Slot, Bytes>(rows, n, bytes, query,
                            [&](std::int64_t i, __m256i d) __attribute__((always_inline)) {
                                hits[i / 8] = static_cast<std::uint8_t>(
                                    _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, d))));
                            });
    if (n % 8 != 0) hits[n / 8] &= static_cast<std::uint8_t>((1 << n % 8) - 1);
    for (std::int64_t i = (n + 7) / 8; i < kBlockRows / 8; ++i) hits[i] = 0;
    std::uint64_t any = 0;
    __builtin_memcpy(mask, hits, sizeof hits);
    for (std::int64_t word = 0; word < kBlockWords; ++word) any |= mask[word];
    return any != 0;
}

#define DMTH_FAST_BY_SLOT(function, ...)                 \
    switch (bytes) {                                     \
        case 4:                                          \
            return function<4, 4>(__VA_ARGS__);          \
        case 8:                                          \
            return function<8, 8>(__VA_ARGS__);          \
        case 16:                                         \
            return function<16, 16>(__VA_ARGS__);        \
        case 32:                                         \
            return function<32, 32>(__VA_ARGS__);        \
        case 64:                                         \
            return function<32, 64>(__VA_ARGS__);        \
        default:                                         \
            break;                                       \
    }                                                    \
    if (bytes < 4) return function<4, 0>(__VA_ARGS__);   \
    if (bytes < 8) return function<8, 0>(__VA_ARGS__);   \
    if (bytes < 16) return function<16, 0>(__VA_ARGS__); \
    return function<32, 0>(__VA_ARGS__)

static void distances_any_width(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                                const std::uint8_t* query, std::int32_t* out) {
    DMTH_FAST_BY_SLOT(distances_eight, rows, n, bytes, query, out);
}

static bool rows_within_any_width(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                                  const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask) {
    DMTH_FAST_BY_SLOT(rows_within_eight, rows, n, bytes, query, bound, mask);
}

#undef DMTH_FAST_BY_SLOT
