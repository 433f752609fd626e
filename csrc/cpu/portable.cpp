// Instruction set "portable": the baseline of the compiler's target, right everywhere.
#include <cstdint>

#include "kernels.h"
#include "planes.h"
#include "table.inl"

namespace dmth_fast::cpu {
namespace portable {

// Sums of bits in fields of 2, 4 and 8, then one multiplication: no popcount instruction is promised here.
DMTH_FAST_INLINE std::int32_t popcount64(std::uint64_t x) {
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return static_cast<std::int32_t>((x * 0x0101010101010101u) >> 56);
}

// 16 bytes: SSE2 and NEON are part of their architectures' baselines; elsewhere the compiler splits them.
using Vec = std::uint64_t __attribute__((vector_size(16)));
static constexpr std::int64_t kVecWords = 2;

DMTH_FAST_INLINE Vec load(const std::uint64_t* p) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
DMTH_FAST_INLINE void store(std::uint64_t* p, Vec v) {
    __builtin_memcpy(p, &v, sizeof v);
}
DMTH_FAST_INLINE Vec zero() {
    return Vec{0, 0};
}
DMTH_FAST_INLINE Vec splat(std::int32_t mask) {
    const auto word = static_cast<std::uint64_t>(static_cast<std::int64_t>(mask));
    return Vec{word, word};
}
DMTH_FAST_INLINE Vec complement(Vec a) {
    return ~a;
}
DMTH_FAST_INLINE Vec inclusive_or(Vec a, Vec b) {
    return a | b;
}
DMTH_FAST_INLINE Vec exclusive_or(Vec a, Vec b) {
    return a ^ b;
}
DMTH_FAST_INLINE Vec majority(Vec a, Vec b, Vec c) {
    return (a & (b | c)) | (b & c);
}
DMTH_FAST_INLINE bool nonzero(Vec a) {
    return (a[0] | a[1]) != 0;
}
DMTH_FAST_INLINE Vec full_add(Vec& sum, Vec a, Vec b) {
    const Vec both = sum ^ a;
    const Vec carry = (sum & a) | (both & b);
    sum = both ^ b;
    return carry;
}
DMTH_FAST_INLINE Vec half_add(Vec& sum, Vec a) {
    const Vec carry = sum & a;
    sum ^= a;
    return carry;
}

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

#include "pack.inl"
// Order matters from here on.
#include "rows.inl"
//
#include "rows_each.inl"
//
#include "sel.inl"
//
#include "transpose.inl"

}  // namespace portable

const Kernels* portable_kernels() {
    DMTH_FAST_TABLE(portable, 4, 16, each);
}

}  // namespace dmth_fast::cpu
