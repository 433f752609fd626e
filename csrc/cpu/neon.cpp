// Instruction set "neon": AArch64, whose baseline has it. Tested under emulation; its speed was never
// measured.
#include <cstdint>

#include "kernels.h"
#include "planes.h"
#include "table.inl"

#if defined(__aarch64__)

#include <arm_neon.h>

namespace dmth_fast::cpu {
namespace neon {

DMTH_FAST_INLINE std::int32_t popcount64(std::uint64_t x) {
    return static_cast<std::int32_t>(vaddv_u8(vcnt_u8(vcreate_u8(x))));
}

using Vec = uint64x2_t;
static constexpr std::int64_t kVecWords = 2;

DMTH_FAST_INLINE Vec load(const std::uint64_t* p) {
    return vld1q_u64(p);
}
DMTH_FAST_INLINE void store(std::uint64_t* p, Vec v) {
    vst1q_u64(p, v);
}
DMTH_FAST_INLINE Vec zero() {
    return vdupq_n_u64(0);
}
DMTH_FAST_INLINE Vec splat(std::int32_t mask) {
    return vreinterpretq_u64_s32(vdupq_n_s32(mask));
}
DMTH_FAST_INLINE Vec complement(Vec a) {
    return vreinterpretq_u64_u8(vmvnq_u8(vreinterpretq_u8_u64(a)));
}
DMTH_FAST_INLINE Vec inclusive_or(Vec a, Vec b) {
    return vorrq_u64(a, b);
}
DMTH_FAST_INLINE Vec exclusive_or(Vec a, Vec b) {
    return veorq_u64(a, b);
}
// Where a and b differ c decides, else either of them: one bit select.
DMTH_FAST_INLINE Vec majority(Vec a, Vec b, Vec c) {
    return vbslq_u64(veorq_u64(a, b), c, a);
}
DMTH_FAST_INLINE bool nonzero(Vec a) {
    return vmaxvq_u32(vreinterpretq_u32_u64(a)) != 0;
}
DMTH_FAST_INLINE Vec both(Vec a, Vec b) {
    return vandq_u64(a, b);
}
DMTH_FAST_INLINE Vec and_differ(Vec a, Vec b, Vec c) {
    return vandq_u64(a, veorq_u64(b, c));
}
DMTH_FAST_INLINE Vec byte_counts(Vec a) {
    return vreinterpretq_u64_u8(vcntq_u8(vreinterpretq_u8_u64(a)));
}
DMTH_FAST_INLINE Vec add_bytes(Vec a, Vec b) {
    return vreinterpretq_u64_u8(vaddq_u8(vreinterpretq_u8_u64(a), vreinterpretq_u8_u64(b)));
}
DMTH_FAST_INLINE std::uint64_t sum_bytes(Vec a) {
    return vaddlvq_u8(vreinterpretq_u8_u64(a));
}
DMTH_FAST_INLINE void add_sums(const Vec* sums, std::uint64_t* counts) {
    for (int v = 0; v < 8; ++v) counts[v] += sum_bytes(sums[v]);
}
DMTH_FAST_INLINE Vec full_add(Vec& sum, Vec a, Vec b) {
    const Vec differ = veorq_u64(a, b);
    const Vec carry = vbslq_u64(differ, sum, a);
    sum = veorq_u64(differ, sum);
    return carry;
}
DMTH_FAST_INLINE Vec half_add(Vec& sum, Vec a) {
    const Vec carry = vandq_u64(sum, a);
    sum = veorq_u64(sum, a);
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

}  // namespace neon

const Kernels* neon_kernels() {
    DMTH_FAST_TABLE(neon, 2, 16, 20, 16, each);
}

}  // namespace dmth_fast::cpu

#else

namespace dmth_fast::cpu {
const Kernels* neon_kernels() {
    return nullptr;
}
}  // namespace dmth_fast::cpu

#endif
