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
#include "transpose_avx2.inl"
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
