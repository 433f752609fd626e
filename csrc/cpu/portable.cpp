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
DMTH_FAST_INLINE Vec both(Vec a, Vec b) {
    return a & b;
}
DMTH_FAST_INLINE Vec and_differ(Vec a, Vec b, Vec c) {
    return a & (b ^ c);
}
DMTH_FAST_INLINE Vec byte_counts(Vec a) {
    a -= (a >> 1) & 0x5555555555555555u;
    a = (a & 0x3333333333333333u) + ((a >> 2) & 0x3333333333333333u);
    return (a + (a >> 4)) & 0x0f0f0f0f0f0f0f0fu;
}
DMTH_FAST_INLINE Vec add_bytes(Vec a, Vec b) {
    return a + b;  // no byte overflows
}
DMTH_FAST_INLINE std::uint64_t sum_bytes(Vec a) {
    a = (a & 0x00ff00ff00ff00ffu) + ((a >> 8) & 0x00ff00ff00ff00ffu);
    const std::uint64_t both = a[0] + a[1];  // four fields of 16 bits
    return (both * 0x0001000100010001u) >> 48;
}
DMTH_FAST_INLINE void add_sums(const Vec* sums, std::uint64_t* counts) {
    for (int v = 0; v < 8; ++v) counts[v] += sum_bytes(sums[v]);
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

#include "extract.inl"
#include "mirror.inl"
//
#include "pack.inl"
// Order matters from here on.
#include "rows.inl"
//
#include "rows_each.inl"
//
#include "postings_each.inl"
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

}  // namespace portable

const Kernels* portable_kernels() {
    DMTH_FAST_TABLE(portable, 2, 16, 16, 16, each);
}

}  // namespace dmth_fast::cpu
