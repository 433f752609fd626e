// Instruction set "avx512": AVX-512 F, BW, VL, VBMI, BITALG, VPOPCNTDQ and GFNI (Intel since Ice Lake, AMD
// since Zen 4: every processor with the first six has the last).
#include <cstdint>

#include "kernels.h"
#include "planes.h"
#include "table.inl"

#if defined(__x86_64__)

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of "undefined" operands in its own header
#endif
#include <immintrin.h>

// The functions below are compiled for AVX-512, to the end of the file; avx2.cpp says why so.
#if defined(__clang__)
#pragma clang attribute push(                                                                             \
    __attribute__((target(                                                                                \
        "avx512f,avx512bw,avx512vl,avx512vbmi,avx512bitalg,avx512vpopcntdq,gfni,avx2,bmi,bmi2,popcnt"))), \
    apply_to = function)
#else
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512bitalg,avx512vpopcntdq,gfni,avx2,bmi,bmi2,popcnt")
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

// A byte permutation brings equal columns of 8 rows together, last row first; GF2P8AFFINEQB then multiplies
// the identity by each 8 x 8 square, which mirrors it; three rounds of unpacking join the 8 rows' bytes of a
// plane.
static void transpose_64x8(const std::uint8_t* rows, std::int64_t planes, std::uint64_t* out) {
    alignas(64) static constexpr std::uint8_t kColumns[64] = {
        56, 48, 40, 32, 24, 16, 8,  0,  57, 49, 41, 33, 25, 17, 9,  1,  58, 50, 42, 34, 26, 18,
        10, 2,  59, 51, 43, 35, 27, 19, 11, 3,  60, 52, 44, 36, 28, 20, 12, 4,  61, 53, 45, 37,
        29, 21, 13, 5,  62, 54, 46, 38, 30, 22, 14, 6,  63, 55, 47, 39, 31, 23, 15, 7};
    const __m512i columns = _mm512_load_si512(kColumns);
    const __m512i identity = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201u));
    __m512i a[8];
    for (int i = 0; i < 8; ++i) {
        const __m512i square = _mm512_permutexvar_epi8(columns, _mm512_loadu_si512(rows + i * 64));
        a[i] = _mm512_gf2p8affine_epi64_epi8(identity, square, 0);
    }
    __m512i b[8];
    for (int i = 0; i < 4; ++i) {
        b[2 * i] = _mm512_unpacklo_epi8(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi8(a[2 * i], a[2 * i + 1]);
    }
    __m512i c[8];
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
            c[4 * i + 2 * j] = _mm512_unpacklo_epi16(b[4 * i + j], b[4 * i + 2 + j]);
            c[4 * i + 2 * j + 1] = _mm512_unpackhi_epi16(b[4 * i + j], b[4 * i + 2 + j]);
        }
    }
    alignas(64) std::uint64_t words[64];  // words[8 i + w]: lane w / 2 of register i
    for (int j = 0; j < 4; ++j) {
        _mm512_store_si512(words + 16 * j, _mm512_unpacklo_epi32(c[j], c[4 + j]));
        _mm512_store_si512(words + 16 * j + 8, _mm512_unpackhi_epi32(c[j], c[4 + j]));
    }
    // Lane l holds planes 16 l ... 16 l + 15, register i two of them: 2 i and 2 i + 1.
    for (int plane = 0; plane < 64; ++plane) {
        if (plane >= planes) break;
        const int at = plane % 16;
        out[plane * kBlockWords] = words[at / 2 * 8 + plane / 16 * 2 + at % 2];
    }
}

#include "pack.inl"
#include "rows.inl"
#include "sel.inl"
#include "transpose.inl"

}  // namespace avx512

const Kernels* avx512_kernels() {
    DMTH_FAST_TABLE(avx512, 6, 12);
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
