// The scan: every row of a range against every query, with an action for each pair.
//
// A block holds a tile of up to 8 queries; each of its warps walks through its own range of rows (a split) in
// ascending order, one row a lane. The rows of a lane and the words of all queries are registers, so a row is
// read once for 8 queries. Blocks of neighbouring query tiles start together and pass over the same rows,
// which then come from L2. One query alone still fills the device: its splits are spread over all
// multiprocessors.
//
// Actions for rare pairs (`kRare`) give a bound for each query. The loop then keeps one number, the least
// distance - bound over all rows and queries of a lane, and only where it is not positive anywhere in the
// warp the pairs are looked at one by one: two integer operations a pair beside XOR and popcount.
//
// Roofline. 16 popcounts a clock and multiprocessor (compute capability 7 to 9) against 64 logic or integer
// operations: at 1 and 2 words popcount binds, and 132 multiprocessors at 1.98 GHz give at most 4.2e12 and
// 2.1e12 pairs a second. From 3 words on full adders take the place of some counts (distance in rows.cuh):
// 2.1e12 at 3, 1.4e12 at 4, .9e12 at 8 words, where logic binds. One query needs 4 W bytes a
// row and is bound by memory: 6e11 rows a second of 64 bits at 4.8 TB/s, at 29 % of the popcounts.
#pragma once

#include "plan.h"
#include "rows.cuh"

namespace dmth_fast::cuda {

// What a scan visits; `tile`, `splits` and `rows_per_split` come from the plan.
struct Scan {
    Rows codes;
    Rows queries;
    const std::uint8_t* filter;
    std::int64_t first_row;
    std::int64_t end_row;
    std::int64_t rows_per_split;
    std::int64_t splits;
    int tile;
};

// The place of a warp in a scan.
struct Place {
    std::int64_t first_query;
    std::int64_t split;
    std::int64_t splits;
    int queries;
    int tile;
};

namespace detail {

__device__ __forceinline__ Place place(const Scan& scan) {
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * scan.tile;
    const std::int64_t left = scan.queries.count - first;
    return {first, static_cast<std::int64_t>(blockIdx.y) * warps() + warp(), scan.splits,
            static_cast<int>(left < scan.tile ? left : scan.tile), scan.tile};
}

struct RowRange {
    std::int64_t first;
    std::int64_t end;
};

__device__ __forceinline__ RowRange range_of(const Scan& scan, std::int64_t split) {
    std::int64_t first = scan.first_row + split * scan.rows_per_split;
    std::int64_t end = first + scan.rows_per_split;
    if (end > scan.end_row) end = scan.end_row;
    if (split >= scan.splits || first > end) first = end;
    return {first, end};
}

// Loads the queries of a block and the bounds of its action into shared memory. Returns one bit for each
// query that wants anything, the same in the whole block.
template <class Action>
__device__ __forceinline__ unsigned stage_queries(const Scan& scan, const Place& at, const Action& action,
                                                  int words, std::uint32_t* query_words, int* bounds) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileQueries * words; i += static_cast<int>(blockDim.x)) {
        const int q = i / words;
        const std::uint8_t* row = scan.queries.data + (at.first_query + q) * scan.queries.bytes;
        query_words[i] = q < at.queries ? load_word(scan.queries, row, i % words) : 0;
    }
    if (threadIdx.x < kTileQueries) {
        const int q = static_cast<int>(threadIdx.x);
        bounds[q] = q < at.queries ? action.bound(at.first_query + q) : -1;
    }
    __syncthreads();
    unsigned wanted = 0;
#pragma unroll
    for (int q = 0; q < kTileQueries; ++q) wanted |= bounds[q] >= 0 ? 1u << q : 0u;
    return wanted;
}

}  // namespace detail

// Rows that a lane holds at once, for loads in flight.
template <int W>
inline constexpr int kRowsOfLane = W <= 2   ? 4
                                   : W <= 4 ? 2
                                            : 1;

template <int W, class Action>
__global__ void __launch_bounds__(kMostThreads) scan_kernel(const Scan scan, Action action) {
    constexpr int R = kRowsOfLane<W>;
    __shared__ std::uint32_t query_words[kTileQueries * W];
    __shared__ int bounds[kTileQueries];
    own_shared(query_words, bounds);
    const Place at = detail::place(scan);
    unsigned wanted = detail::stage_queries(scan, at, action, W, query_words, bounds);
    if (wanted == 0) return;
    action.begin(scan, at);
    detail::RowRange range = detail::range_of(scan, at.split);
    if constexpr (Action::kRare) {
        wanted &= action.wanted(scan, at);
        if (wanted == 0) range.end = range.first;
    }

    std::uint32_t query[kTileQueries][W];
    int bound[kTileQueries];
#pragma unroll
    for (int q = 0; q < kTileQueries; ++q) {
        bound[q] = bounds[q];
#pragma unroll
        for (int w = 0; w < W; ++w) query[q][w] = query_words[q * W + w];
    }
    const bool full = wanted == (1u << kTileQueries) - 1;

    for (std::int64_t base = range.first; base < range.end; base += 32 * R) {
        std::uint32_t row[R][W];
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const std::int64_t index = base + 32 * r + lane();
            load_row<W>(scan.codes, index < range.end ? index : range.end - 1, row[r]);
        }
        if constexpr (Action::kRare) {
            // Two loops, so that the usual one, of a full tile, has no branch for each query.
            int nearest = 1;
            if (full) {
#pragma unroll
                for (int q = 0; q < kTileQueries; ++q) {
#pragma unroll
                    for (int r = 0; r < R; ++r)
                        nearest = min(nearest, distance<W>(row[r], query[q]) - bound[q]);
                }
            } else {
#pragma unroll
                for (int q = 0; q < kTileQueries; ++q) {
                    if ((wanted >> q & 1) == 0) continue;
#pragma unroll
                    for (int r = 0; r < R; ++r)
                        nearest = min(nearest, distance<W>(row[r], query[q]) - bound[q]);
                }
            }
            if (!any(nearest <= 0)) continue;
#pragma unroll
            for (int r = 0; r < R; ++r) {
                const std::int64_t index = base + 32 * r + lane();
                const bool here = index < range.end && allowed(scan.filter, index);
#pragma unroll 1
                for (int q = 0; q < at.queries; ++q) {
                    if ((wanted >> q & 1) == 0) continue;
                    const int d = distance<W>(row[r], query_words + q * W);
                    action.visit(at, q, index, d, here && d <= bounds[q]);
                }
            }
        } else {
#pragma unroll
            for (int r = 0; r < R; ++r) {
                const std::int64_t index = base + 32 * r + lane();
                const bool here = index < range.end && allowed(scan.filter, index);
                const auto context = action.context(index, here);
#pragma unroll
                for (int q = 0; q < kTileQueries; ++q) {
                    if (full || (wanted >> q & 1) != 0) {
                        action.visit(at, q, index, distance<W>(row[r], query[q]), here, context);
                    }
                }
            }
        }
    }
    action.end(scan, at);
}

// Rows of more than 8 words: the queries stay in shared memory, a row passes through registers 4 words at a
// time.
template <class Action>
__global__ void __launch_bounds__(kMostThreads) scan_wide_kernel(const Scan scan, Action action) {
    __align__(16) __shared__ std::uint32_t query_words[kTileQueries * kMaxWords];
    __shared__ int bounds[kTileQueries];
    own_shared(query_words, bounds);
    const Place at = detail::place(scan);
    const int words = (scan.codes.bytes + 15) / 16 * 4;
    unsigned wanted = detail::stage_queries(scan, at, action, words, query_words, bounds);
    if (wanted == 0) return;
    action.begin(scan, at);
    detail::RowRange range = detail::range_of(scan, at.split);
    if constexpr (Action::kRare) {
        wanted &= action.wanted(scan, at);
        if (wanted == 0) range.end = range.first;
    }

    for (std::int64_t base = range.first; base < range.end; base += 32) {
        const std::int64_t index = base + lane();
        const std::uint8_t* row =
            scan.codes.data + (index < range.end ? index : range.end - 1) * scan.codes.bytes;
        int sums[kTileQueries] = {};
        for (int first = 0; first < words; first += 4) {
            std::uint32_t part[4];
            if (scan.codes.unit >= 16) {
                const uint4 four = *reinterpret_cast<const uint4*>(row + 4 * first);
                part[0] = four.x;
                part[1] = four.y;
                part[2] = four.z;
                part[3] = four.w;
            } else {
#pragma unroll
                for (int w = 0; w < 4; ++w) part[w] = load_word(scan.codes, row, first + w);
            }
#pragma unroll
            for (int q = 0; q < kTileQueries; ++q) {
                if ((wanted >> q & 1) != 0) sums[q] += distance<4>(part, query_words + q * words + first);
            }
        }
        const bool here = index < range.end && allowed(scan.filter, index);
        if constexpr (Action::kRare) {
            int nearest = 1;
#pragma unroll
            for (int q = 0; q < kTileQueries; ++q) {
                if ((wanted >> q & 1) != 0) nearest = min(nearest, sums[q] - bounds[q]);
            }
            if (!any(nearest <= 0)) continue;
#pragma unroll
            for (int q = 0; q < kTileQueries; ++q) {
                if ((wanted >> q & 1) != 0) action.visit(at, q, index, sums[q], here && sums[q] <= bounds[q]);
            }
        } else {
            const auto context = action.context(index, here);
#pragma unroll
            for (int q = 0; q < kTileQueries; ++q) {
                if ((wanted >> q & 1) != 0) action.visit(at, q, index, sums[q], here, context);
            }
        }
    }
    action.end(scan, at);
}

// Blocks of a scan: tiles of queries, and as many splits a block.
inline dim3 grid_of(const Scan& scan, int splits_of_block) {
    return dim3(static_cast<unsigned>((scan.queries.count + scan.tile - 1) / scan.tile),
                static_cast<unsigned>((scan.splits + splits_of_block - 1) / splits_of_block));
}

// Runs an action over a scan. `shared` is the action's dynamic shared memory.
template <class Action>
void run_scan(const char* name, const Scan& scan, int warps_of_block, std::size_t shared, cudaStream_t stream,
              const Action& action) {
    const dim3 grid = grid_of(scan, warps_of_block);
    const auto threads = static_cast<unsigned>(32 * warps_of_block);
    switch (word_class(scan.codes.bytes)) {
        case 1:
            return launch(name, scan_kernel<1, Action>, grid, threads, shared, stream, scan, action);
        case 2:
            return launch(name, scan_kernel<2, Action>, grid, threads, shared, stream, scan, action);
        case 3:
            return launch(name, scan_kernel<3, Action>, grid, threads, shared, stream, scan, action);
        case 4:
            return launch(name, scan_kernel<4, Action>, grid, threads, shared, stream, scan, action);
        case 8:
            return launch(name, scan_kernel<8, Action>, grid, threads, shared, stream, scan, action);
        default:
            return launch(name, scan_wide_kernel<Action>, grid, threads, shared, stream, scan, action);
    }
}

}  // namespace dmth_fast::cuda
