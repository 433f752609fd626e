// Instruction set "avx2": AVX2 with POPCNT and BMI (x86-64-v3; AMD since Zen, Intel since Haswell).
#include <cstdint>

#include "kernels.h"
#include "planes.h"
#include "table.inl"

#if defined(__x86_64__)

#include <immintrin.h>

// The functions below are compiled for AVX2, to the end of the file, where templates are instantiated. Not a
// per-file -m flag: inline functions of shared headers would be compiled for it too, and the linker might
// keep that copy for every caller.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif

namespace dmth_fast::cpu {
namespace avx2 {

DMTH_FAST_INLINE std::int32_t popcount64(std::uint64_t x) {
    return static_cast<std::int32_t>(_mm_popcnt_u64(x));
}

using Vec = __m256i;
static constexpr std::int64_t kVecWords = 4;

DMTH_FAST_INLINE Vec load(const std::uint64_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
DMTH_FAST_INLINE void store(std::uint64_t* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
DMTH_FAST_INLINE Vec zero() {
    return _mm256_setzero_si256();
}
DMTH_FAST_INLINE Vec splat(std::int32_t mask) {
    return _mm256_set1_epi32(mask);
}
DMTH_FAST_INLINE Vec complement(Vec a) {
    return _mm256_xor_si256(a, _mm256_set1_epi32(-1));
}
DMTH_FAST_INLINE Vec inclusive_or(Vec a, Vec b) {
    return _mm256_or_si256(a, b);
}
DMTH_FAST_INLINE Vec exclusive_or(Vec a, Vec b) {
    return _mm256_xor_si256(a, b);
}
DMTH_FAST_INLINE Vec majority(Vec a, Vec b, Vec c) {
    return _mm256_or_si256(_mm256_and_si256(a, _mm256_or_si256(b, c)), _mm256_and_si256(b, c));
}
DMTH_FAST_INLINE bool nonzero(Vec a) {
    return _mm256_testz_si256(a, a) == 0;
}
DMTH_FAST_INLINE Vec both(Vec a, Vec b) {
    return _mm256_and_si256(a, b);
}
DMTH_FAST_INLINE Vec and_differ(Vec a, Vec b, Vec c) {
    return _mm256_and_si256(a, _mm256_xor_si256(b, c));
}
DMTH_FAST_INLINE Vec byte_counts(Vec a) {
    const Vec ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3,
                                      1, 2, 2, 3, 2, 3, 3, 4);
    const Vec nibble = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(ones, _mm256_and_si256(a, nibble)),
                           _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble)));
}
DMTH_FAST_INLINE Vec add_bytes(Vec a, Vec b) {
    return _mm256_add_epi8(a, b);
}
// 4 sums at once: adding and transposing costs less than reductions.
DMTH_FAST_INLINE void add_sums(const Vec* sums, std::uint64_t* counts) {
    for (int v = 0; v < 8; v += 4) {
        Vec pairs[2];  // in each 128 bits, parts of two sums
        for (int i = 0; i < 2; ++i) {
            const Vec a = _mm256_sad_epu8(sums[v + 2 * i], zero());
            const Vec b = _mm256_sad_epu8(sums[v + 2 * i + 1], zero());
            pairs[i] = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        }
        const Vec fours = _mm256_add_epi64(_mm256_permute2x128_si256(pairs[0], pairs[1], 0x20),
                                           _mm256_permute2x128_si256(pairs[0], pairs[1], 0x31));
        store(counts + v, _mm256_add_epi64(load(counts + v), fours));
    }
}
DMTH_FAST_INLINE Vec full_add(Vec& sum, Vec a, Vec b) {
    const Vec both = _mm256_xor_si256(a, b);
    const Vec carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(both, sum));
    sum = _mm256_xor_si256(both, sum);
    return carry;
}
DMTH_FAST_INLINE Vec half_add(Vec& sum, Vec a) {
    const Vec carry = _mm256_and_si256(sum, a);
    sum = _mm256_xor_si256(sum, a);
    return carry;
}

// 8 registers of 8 rows each: bytes to columns of 64 rows by a shuffle within lanes and three rounds of
// unpacking, then a sign mask a plane.
static void transpose_64x8(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    // Within 16 bytes (two rows of 8), pair equal columns: a0 b0 a1 b1 ...
    const __m256i pairs = _mm256_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15, 0, 8, 1, 9,
                                           2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    for (int half = 0; half < 2; ++half) {  // 32 rows
        const __m256i* from = reinterpret_cast<const __m256i*>(rows + half * 256);
        __m256i a[8];  // a[i]: rows 2 i, 2 i + 1 in the low lane, rows 16 + 2 i, 17 + 2 i in the high lane
        for (int i = 0; i < 4; ++i) {
            const __m256i low = _mm256_loadu_si256(from + i);
            const __m256i high = _mm256_loadu_si256(from + 4 + i);
            a[2 * i] = _mm256_shuffle_epi8(_mm256_permute2x128_si256(low, high, 0x20), pairs);
            a[2 * i + 1] = _mm256_shuffle_epi8(_mm256_permute2x128_si256(low, high, 0x31), pairs);
        }
        __m256i b[8];  // b[2 i], b[2 i + 1]: columns 0..3 and 4..7 of 4 rows
        for (int i = 0; i < 4; ++i) {
            b[2 * i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
        }
        __m256i c[8];  // c[4 i + j]: columns 2 j, 2 j + 1 of 8 rows
        for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 2; ++j) {
                c[4 * i + 2 * j] = _mm256_unpacklo_epi32(b[4 * i + j], b[4 * i + 2 + j]);
                c[4 * i + 2 * j + 1] = _mm256_unpackhi_epi32(b[4 * i + j], b[4 * i + 2 + j]);
            }
        }
        for (int j = 0; j < 4; ++j) {  // 16 rows a lane, one column a register
            __m256i columns[2] = {_mm256_unpacklo_epi64(c[j], c[4 + j]),
                                  _mm256_unpackhi_epi64(c[j], c[4 + j])};
            for (int i = 0; i < 2; ++i) {
                const int byte = 2 * j + i;
                if (byte * 8 >= planes) continue;
                for (int bit = 7; bit >= 0; --bit) {
                    const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(columns[i]));
                    __builtin_memcpy(
                        reinterpret_cast<std::uint8_t*>(out + (byte * 8 + bit) * kBlockWords) + half * 4,
                        &mask, 4);
                    columns[i] = _mm256_add_epi8(columns[i], columns[i]);
                }
            }
        }
    }
}

static void transpose_column(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    for (std::int64_t word = 0; word < kBlockWords; ++word)
        transpose_64x8(rows + word * 512, planes, out + word);
}

#include "extract.inl"
//
#include "pack.inl"
// Order matters from here on.
#include "rows.inl"
//
#include "rows_avx2.inl"
//
#include "postings_avx2.inl"
//
#include "postings.inl"
//
#include "sel.inl"
//
#include "tab.inl"
//
#include "tally.inl"
//
#include "transpose.inl"

}  // namespace avx2

const Kernels* avx2_kernels() {
    DMTH_FAST_TABLE(avx2, 3, 7, 20, 4, any_width);
}

}  // namespace dmth_fast::cpu

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

namespace dmth_fast::cpu {
const Kernels* avx2_kernels() {
    return nullptr;
}
}  // namespace dmth_fast::cpu

#endif
