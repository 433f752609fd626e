// Instruction set "portable": the baseline of the compiler's target, right everywhere.
#include <cstdint>

#include "kernels.h"

namespace dmth_fast::cpu {
namespace portable {

// Sums of bits in fields of 2, 4 and 8, then one multiplication: no popcount instruction is promised here.
static inline std::int32_t popcount64(std::uint64_t x) {
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return static_cast<std::int32_t>((x * 0x0101010101010101u) >> 56);
}

#include "pack.inl"
#include "rows.inl"

}  // namespace portable

const Kernels* portable_kernels() {
    static constexpr Kernels table{
        .name = "portable",
        .distances = portable::distances,
        .distances_at = portable::distances_at,
        .rows_within = portable::rows_within,
        .pack_half = portable::pack_row<std::uint16_t>,
        .pack_float = portable::pack_row<float>,
        .pack_double = portable::pack_row<double>,
        .pack_bool = portable::pack_row<std::uint8_t>,
    };
    return &table;
}

}  // namespace dmth_fast::cpu
