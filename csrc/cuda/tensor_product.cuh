// What the kernels by 1-bit tensor cores share: one product, of 16 rows and 8 queries of 128 bits beside
// their complements, what goes into it and what is kept of it; see tensor.cuh.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "actions.cuh"

namespace dmth_fast::cuda {

inline constexpr int kColumns = 8;  // queries of one product
inline constexpr std::int64_t kRowsOfProduct = 16;
inline constexpr int kProducts = kTensorTile / kColumns;  // products that cover a tile
inline constexpr int kNothing = -1;                       // a bound that no distance meets

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

// Where the sums of queries 8 n + 2 part and the next start: a sum that is not negative is a hit. False if no
// query of this lane wants any.
template <int C>
__device__ __forceinline__ bool start_sums(const Scan& scan, const Collect& action, std::int64_t first_query,
                                           int part, int (&start)[kProducts][2]) {
    bool wanted = false;
#pragma unroll
    for (int n = 0; n < kProducts; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const std::int64_t owner = first_query + kColumns * n + 2 * part + i;
            const int bound = owner < scan.queries.count ? action.bound(owner) : kNothing;
            start[n][i] = bound < 0 ? kNothing - 128 * C : bound - 128 * C;
            wanted |= bound >= 0;
        }
    }
    return wanted;
}

// This lane's words of rows `low` and `low` + 8; zero behind the end.
template <int C>
__device__ __forceinline__ void load_pair(const Scan& scan, std::int64_t low, std::int64_t end, int part,
                                          std::uint32_t (&row)[C], std::uint32_t (&row8)[C]) {
    const std::uint8_t* words = scan.codes.data + low * scan.codes.bytes;
    const std::uint8_t* words8 = words + 8 * static_cast<std::int64_t>(scan.codes.bytes);
#pragma unroll
    for (int c = 0; c < C; ++c) {
        row[c] = low < end ? load_word(scan.codes, words, 4 * c + part) : 0;
        row8[c] = low + 8 < end ? load_word(scan.codes, words8, 4 * c + part) : 0;
    }
}

// Keeps the hits among a lane's sums of one product; `query` is that of its first column.
template <int C>
__device__ __forceinline__ void keep_hits(const Scan& scan, const Collect& action, std::int64_t query,
                                          std::int64_t low, std::int64_t end, const int (&start)[2],
                                          const int (&sums)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const std::int64_t index = i < 2 ? low : low + 8;
        if (sums[i] < 0 || index >= end || !allowed(scan.filter, index)) continue;
        keep_candidate(action, query + (i & 1), start[i & 1] + 128 * C - sums[i], index);
    }
}

// Calls run with the number of links, 128 bits each, that codes of so many bytes take.
template <class Run>
void with_chain(int bytes, const Run& run) {
    if (bytes <= 16) return run(std::integral_constant<int, 1>());
    if (bytes <= 32) return run(std::integral_constant<int, 2>());
    if (bytes <= 64) return run(std::integral_constant<int, 4>());
    throw std::invalid_argument("tensor cores take codes of at most 512 bits");
}

}  // namespace dmth_fast::cuda
