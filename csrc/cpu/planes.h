// Bit planes: the layout of codes that many queries scan.
//
// A block holds kBlockRows rows, whatever the instruction set (AVX2 takes halves of a plane, the portable
// code quarters or eighths). It is a sequence of planes of kBlockWords words each:
//   plane j, 0 <= j < W = 8 * bytes         bit j of every row; row i is bit i % 64 of word i / 64
//   plane W + j, 0 <= j < L                 bit j of 2^L - 1 - |x|, the complemented number of ones of every
//   row plane W + L                             zeros, for queries whose list of planes is padded
// with L = max(6, bit width of W). Rows beyond the last are zero. Kernel "sel" says why the weights are
// stored; they cost 12 % of the memory at 64 bits. The layout is private: no file, no caller ever sees it.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace dmth_fast::cpu {

struct PlaneLayout {
    std::int64_t bytes;
    int planes;  // W
    int levels;  // L

    explicit constexpr PlaneLayout(std::int64_t bytes_)
        : bytes(bytes_), planes(static_cast<int>(bytes_ * 8)), levels(6) {
        while ((1 << levels) <= planes) ++levels;
    }
    constexpr std::int64_t weight() const { return planes * kBlockWords; }
    constexpr std::int64_t zero() const { return (planes + levels) * kBlockWords; }
    constexpr std::int64_t words() const { return (planes + levels + 1) * kBlockWords; }
};

// A run of queries that read equally many planes of each block; see queries.h.
struct PlaneRun {
    static constexpr int kConstants = 16;  // a cache line a query
    static constexpr int kFlip = 14;
    static constexpr int kQuery = 15;

    int planes;                     // padded number of planes that each query reads
    int count;                      // queries
    const std::uint16_t* offsets;   // (count, planes): first word of each plane within a block
    const std::int32_t* constants;  // (count, kConstants): see kernel "sel"
};

// A query of kernel "tab", a cache line; see there.
struct alignas(64) TabQuery {
    static constexpr std::int64_t kMostBytes = 8;  // of a code

    std::uint8_t patterns[4 * kMostBytes];  // of each item, times the words of a vector
    std::int32_t start[5];                  // of the adders, 0 or -1 a level
    std::int32_t query;
};

// Lines of the block after this one, to be fetched into the L2 cache while queries pass over this one: some
// of them a query, since all at once would fill the queue that the loads wait in.
struct Ahead {
    const std::uint64_t* next;
    const std::uint64_t* end;
    std::int64_t step;  // words a query

    inline __attribute__((always_inline)) void fetch() {
        const std::uint64_t* until = next + step < end ? next + step : end;
        for (; next < until; next += kBlockWords) __builtin_prefetch(next, 0, 2);
    }
};

// Rows of a block within the bounds of one query.
struct PlaneHit {
    alignas(64) std::uint64_t mask[kBlockWords];
};

}  // namespace dmth_fast::cpu
