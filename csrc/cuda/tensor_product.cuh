// One product of 1-bit matrices: 16 rows and 8 queries of 128 bits beside their complements; see tensor.cuh.
#pragma once

#include "device.h"

namespace dmth_fast::cuda {

inline constexpr int kColumns = 8;  // queries of one product
inline constexpr std::int64_t kRowsOfProduct = 16;

// sums += popcount(a & b) of 16 rows and 8 columns of 256 bits. With g = lane / 4 and t = lane % 4 a lane
// brings words t and t + 4 of rows g and g + 8 and of column g, and holds the sums of those rows at columns 2
// t and 2 t + 1.
__device__ __forceinline__ void multiply_bits(int (&sums)[4], std::uint32_t row, std::uint32_t row8,
                                              std::uint32_t column) {
#ifdef DMTH_FAST_EMULATE
    emulator::Fiber& self = emulator::self();
    const std::uint32_t words[6] = {row, row8, ~row, ~row8, column, ~column};
    for (int i = 0; i < 6; ++i) self.matrix[i] = words[i];
    for (int i = 0; i < 4; ++i) self.sums[i] = sums[i];
    emulator::pause(emulator::Wait::kMatrix);
    for (int i = 0; i < 4; ++i) sums[i] = self.sums[i];
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    // Volatile: the rare path computes products again rather than keeping 32 sums of each lane alive for it.
    asm volatile(
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(row), "r"(row8), "r"(~row), "r"(~row8), "r"(column), "r"(~column));
#endif
}

}  // namespace dmth_fast::cuda
