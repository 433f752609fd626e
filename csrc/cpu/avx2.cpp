// Instruction set "avx2": AVX2 with POPCNT and BMI (x86-64-v3; AMD since Zen, Intel since Haswell).
#include <cstdint>

#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

// The region reaches to the end of the file: templates are instantiated there.
#include "avx2_target.inl"

namespace dmth_fast::cpu {
namespace avx2 {

static inline std::int32_t popcount64(std::uint64_t x) {
    return static_cast<std::int32_t>(_mm_popcnt_u64(x));
}

#include "pack.inl"
#include "rows.inl"

}  // namespace avx2

const Kernels* avx2_kernels() {
    static constexpr Kernels table{
        .name = "avx2",
        .distances = avx2::distances,
        .distances_at = avx2::distances_at,
        .rows_within = avx2::rows_within,
        .pack_half = avx2::pack_row<std::uint16_t>,
        .pack_float = avx2::pack_row<float>,
        .pack_double = avx2::pack_row<double>,
        .pack_bool = avx2::pack_row<std::uint8_t>,
    };
    return &table;
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
