// One product of 1-bit matrices: 16 rows and 8 queries of 128 bits beside their complements; see tensor.cuh.
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

inline constexpr int kColumns = 8;  // queries of one product
inline constexpr std::int64_t kRowsOfProduct = 16;

#ifdef DMTH_FAST_EMULATE
struct FragmentWords {
    std::uint32_t words[6];  // four of the rows, two of the column
};
inline void multiply_words(int (&sums)[4], const FragmentWords& of) {
    emulator::Fiber& self = emulator::self();
    for (int i = 0; i < 6; ++i) self.matrix[i] = of.words[i];
    for (int i = 0; i < 4; ++i) self.sums[i] = sums[i];
    emulator::pause(emulator::Wait::kMatrix);
    for (int i = 0; i < 4; ++i) sums[i] = self.sums[i];
}
#endif

// sums += popcount(a & b) of 16 rows and 8 columns of 256 bits. With g = lane / 4 and t = lane % 4 a lane
// brings words t and t + 4 of rows g and g + 8 and of column g, and holds the sums of those rows at columns 2
// t and 2 t + 1.
__device__ __forceinline__ void multiply_bits(int (&sums)[4], std::uint32_t row, std::uint32_t row8,
                                              std::uint32_t column) {
#ifdef DMTH_FAST_EMULATE
    multiply_words(sums, {row, row8, ~row, ~row8, column, ~column});
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    // Volatile: the rare path computes products again rather than keeping 32 sums of each lane alive for it.
    asm volatile(
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(row), "r"(row8), "r"(~row), "r"(~row8), "r"(column), "r"(~column));
#endif
}

// A call and not inline: its addresses, for 32 sums of a lane, would be kept in registers through the whole
// loop.
static __device__ __noinline__ void keep_candidate(const Collect action, std::int64_t query, int distance,
                                                   std::int64_t row) {
    const unsigned long long place = atomicAdd(action.counts + query, 1ull);
    if (place < static_cast<unsigned long long>(action.capacity)) {
        action.keys[query * action.capacity + static_cast<std::int64_t>(place)] = key_of(distance, row);
    }
}

}  // namespace dmth_fast::cuda
