// Instruction set "avx512": AVX-512 F, BW, VL, VBMI, VBMI2, BITALG, VPOPCNTDQ and GFNI (Intel since Ice Lake,
// AMD since Zen 4: every processor with BITALG has them all).
#include <cstdint>

#include "kernels.h"
#include "planes.h"
#include "table.inl"

#if defined(__x86_64__)

#if !defined(__clang__)
// GCC 12 warns of the "undefined" operands in its own header.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

// The functions below are compiled for AVX-512, to the end of the file; avx2.cpp says why so.
#if defined(__clang__)
#pragma clang attribute push(                                                                                         \
    __attribute__((target(                                                                                            \
        "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,gfni,avx2,bmi,bmi2,popcnt"))), \
    apply_to = function)
#else
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,gfni,avx2,bmi,bmi2,popcnt")
#endif

namespace dmth_fast::cpu {
namespace avx512 {

DMTH_FAST_INLINE std::int32_t popcount64(std::uint64_t x) {
    return static_cast<std::int32_t>(_mm_popcnt_u64(x));
}

using Vec = __m512i;
static constexpr std::int64_t kVecWords = 8;

DMTH_FAST_INLINE Vec load(const std::uint64_t* p) {
    return _mm512_loadu_si512(p);
}
DMTH_FAST_INLINE void store(std::uint64_t* p, Vec v) {
    _mm512_storeu_si512(p, v);
}
DMTH_FAST_INLINE Vec zero() {
    return _mm512_setzero_si512();
}
DMTH_FAST_INLINE Vec splat(std::int32_t mask) {
    return _mm512_set1_epi32(mask);
}
DMTH_FAST_INLINE Vec complement(Vec a) {
    return _mm512_ternarylogic_epi64(a, a, a, 0x0f);
}
DMTH_FAST_INLINE Vec inclusive_or(Vec a, Vec b) {
    return _mm512_or_si512(a, b);
}
DMTH_FAST_INLINE Vec exclusive_or(Vec a, Vec b) {
    return _mm512_xor_si512(a, b);
}
DMTH_FAST_INLINE Vec majority(Vec a, Vec b, Vec c) {
    return _mm512_ternarylogic_epi32(a, b, c, 0xe8);
}
DMTH_FAST_INLINE bool nonzero(Vec a) {
    return _mm512_test_epi64_mask(a, a) != 0;
}
DMTH_FAST_INLINE Vec both(Vec a, Vec b) {
    return _mm512_and_si512(a, b);
}
DMTH_FAST_INLINE Vec and_differ(Vec a, Vec b, Vec c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x60);
}
DMTH_FAST_INLINE Vec byte_counts(Vec a) {
    return _mm512_popcnt_epi8(a);
}
DMTH_FAST_INLINE Vec add_bytes(Vec a, Vec b) {
    return _mm512_add_epi8(a, b);
}
// 8 sums at once: adding and transposing costs less than 8 reductions.
DMTH_FAST_INLINE void add_sums(const Vec* sums, std::uint64_t* counts) {
    Vec pairs[4];  // in each 128 bits, parts of two sums
    for (int i = 0; i < 4; ++i) {
        const Vec a = _mm512_sad_epu8(sums[2 * i], zero());
        const Vec b = _mm512_sad_epu8(sums[2 * i + 1], zero());
        pairs[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    Vec fours[2];
    for (int i = 0; i < 2; ++i) {
        fours[i] = _mm512_add_epi64(_mm512_shuffle_i64x2(pairs[2 * i], pairs[2 * i + 1], 0x88),
                                    _mm512_shuffle_i64x2(pairs[2 * i], pairs[2 * i + 1], 0xdd));
    }
    const Vec all = _mm512_add_epi64(_mm512_shuffle_i64x2(fours[0], fours[1], 0x88),
                                     _mm512_shuffle_i64x2(fours[0], fours[1], 0xdd));
    store(counts, _mm512_add_epi64(load(counts), all));
}
DMTH_FAST_INLINE Vec full_add(Vec& sum, Vec a, Vec b) {
    const Vec carry = _mm512_ternarylogic_epi64(sum, a, b, 0xe8);
    sum = _mm512_ternarylogic_epi64(sum, a, b, 0x96);
    return carry;
}
DMTH_FAST_INLINE Vec half_add(Vec& sum, Vec a) {
    const Vec carry = _mm512_and_si512(sum, a);
    sum = _mm512_xor_si512(sum, a);
    return carry;
}

#include "pack.inl"
// Order matters from here on.
#include "rows.inl"
//
#include "rows_avx512.inl"
//
#include "extract_avx512.inl"
//
#include "postings_avx512.inl"
//
#include "postings.inl"
//
#include "sel.inl"
//
#include "tab.inl"
//
#include "tally.inl"
//
#include "transpose_avx512.inl"
//
#include "transpose.inl"

}  // namespace avx512

const Kernels* avx512_kernels() {
    DMTH_FAST_TABLE(avx512, 2, 6, 56, 2, any_width);
}

}  // namespace dmth_fast::cpu

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

namespace dmth_fast::cpu {
const Kernels* avx512_kernels() {
    return nullptr;
}
}  // namespace dmth_fast::cpu

#endif
