// What the scan does with a pair of query and row; see scan.cuh for when it is asked.
//
// A rare action (kRare) is visited by whole warps, once for each row of a lane and each query in ascending
// order of rows, with `hit` false for lanes that have nothing. The others are visited by each lane on its
// own.
#pragma once

#include <climits>

#include "scan.cuh"

namespace dmth_fast::cuda {

struct Empty {};

// Every distance: out (queries, rows). Four bytes a pair: bound by the writes.
struct WriteDistances {
    static constexpr bool kRare = false;
    std::int32_t* out;
    std::int64_t rows;

    __device__ int bound(std::int64_t) const { return INT_MAX; }
    __device__ void begin(const Scan&, const Place&) const {}
    __device__ void end(const Scan&, const Place&) const {}
    __device__ Empty context(std::int64_t, bool) const { return {}; }
    __device__ void visit(const Place& at, int q, std::int64_t row, int distance, bool here, Empty) const {
        if (here) out[(at.first_query + q) * rows + row] = distance;
    }
};

// What makes a row relevant to a query, for CountAll. A tile's queries bring kShared bytes each to shared
// memory; `of_row` is read once a row, `relevant` asks for each pair.
struct NoLabels {
    static constexpr int kKinds = 1;  // of counters: rows
    static constexpr int kShared = 0;
    __device__ void stage(void*, int, std::int64_t) const {}
    __device__ Empty of_row(std::int64_t, bool) const { return {}; }
    __device__ bool relevant(const void*, int, std::int64_t, std::int64_t, Empty) const { return false; }
};

struct SameClass {
    static constexpr int kKinds = 2;  // rows that are not relevant, and rows that are
    static constexpr int kShared = 8;
    const std::int64_t* rows;
    const std::int64_t* queries;

    __device__ void stage(void* staged, int q, std::int64_t query) const {
        static_cast<std::int64_t*>(staged)[q] = queries[query];
    }
    __device__ std::int64_t of_row(std::int64_t row, bool here) const { return here ? rows[row] : 0; }
    __device__ bool relevant(const void* staged, int q, std::int64_t, std::int64_t,
                             std::int64_t row_class) const {
        return static_cast<const std::int64_t*>(staged)[q] == row_class;
    }
};

struct SharedLabel {
    static constexpr int kKinds = 2;
    static constexpr int kShared = 0;
    const std::uint64_t* rows;
    const std::uint64_t* queries;
    std::int64_t words;

    __device__ void stage(void*, int, std::int64_t) const {}
    __device__ Empty of_row(std::int64_t, bool) const { return {}; }
    __device__ bool relevant(const void*, int, std::int64_t query, std::int64_t row, Empty) const {
        for (std::int64_t w = 0; w < words; ++w) {
            if ((queries[query * words + w] & rows[row * words + w]) != 0) return true;
        }
        return false;
    }
};

// Rows, and relevant rows, at each distance of each query, added to 64-bit results. The counters of a block
// are shared memory, of 32 bits, for each kind, query and distance; a block sees fewer than 2^32 rows (see
// plan_scan). Bound by the shared-memory additions: one a pair, some lanes of a warp meeting at one distance.
template <class Relevance>
struct CountAll {
    static constexpr bool kRare = false;
    Relevance relevance;
    unsigned long long* all;
    unsigned long long* relevant;  // not read with one kind
    std::int64_t bins;

    // Shared memory of a query of the tile.
    static std::int64_t shared_of_query(std::int64_t bins) {
        return Relevance::kKinds * 4 * bins + Relevance::kShared;
    }

    __device__ int bound(std::int64_t) const { return INT_MAX; }
    __device__ int counters_of_tile(int tile) const { return tile * static_cast<int>(bins); }
    __device__ unsigned* counters() const { return reinterpret_cast<unsigned*>(dynamic_shared()); }
    __device__ void* staged(int tile) const {
        return counters() + Relevance::kKinds * counters_of_tile(tile);
    }

    __device__ void begin(const Scan&, const Place& at) const {
        const int thread = static_cast<int>(threadIdx.x);
        const int count = counters_of_tile(at.tile) * Relevance::kKinds;
        for (int i = thread; i < count; i += static_cast<int>(blockDim.x)) counters()[i] = 0;
        if (thread < at.queries) relevance.stage(staged(at.tile), thread, at.first_query + thread);
        __syncthreads();
    }

    __device__ auto context(std::int64_t row, bool here) const { return relevance.of_row(row, here); }

    template <class OfRow>
    __device__ void visit(const Place& at, int q, std::int64_t row, int distance, bool here,
                          const OfRow& of_row) const {
        if (!here) return;
        int counter = q * static_cast<int>(bins) + distance;
        if constexpr (Relevance::kKinds == 2) {
            if (relevance.relevant(staged(at.tile), q, at.first_query + q, row, of_row))
                counter += counters_of_tile(at.tile);
        }
        atomicAdd(counters() + counter, 1u);
    }

    __device__ void end(const Scan&, const Place& at) const {
        __syncthreads();
        const int used = at.queries * static_cast<int>(bins);
        for (int i = static_cast<int>(threadIdx.x); i < used; i += static_cast<int>(blockDim.x)) {
            const std::int64_t out = at.first_query * bins + i;
            unsigned long long rows = counters()[i];
            if constexpr (Relevance::kKinds == 2) {
                const unsigned long long found = counters()[counters_of_tile(at.tile) + i];
                if (found != 0) atomicAdd(relevant + out, found);
                rows += found;
            }
            if (rows != 0) atomicAdd(all + out, rows);
        }
    }
};

// A candidate of small-k search as one number in the order of results: distance, then row.
inline constexpr int kRowBits = 48;
__device__ __forceinline__ unsigned long long key_of(int distance, std::int64_t row) {
    return static_cast<unsigned long long>(distance) << kRowBits | static_cast<unsigned long long>(row);
}

// Candidates within the bound of their query, in any order. The counter goes on counting behind a full list,
// so that an overflow is seen.
struct Collect {
    static constexpr bool kRare = true;
    const int* bounds;
    unsigned long long* counts;
    unsigned long long* keys;
    std::int64_t capacity;

    __device__ int bound(std::int64_t query) const { return bounds[query]; }
    __device__ void begin(const Scan&, const Place&) const {}
    __device__ void end(const Scan&, const Place&) const {}
    __device__ unsigned wanted(const Scan&, const Place&) const { return ~0u; }
    __device__ void visit(const Place& at, int q, std::int64_t row, int distance, bool hit) const {
        const unsigned mask = ballot(hit);
        if (mask == 0) return;
        const std::int64_t query = at.first_query + q;
        const int leader = __ffs(static_cast<int>(mask)) - 1;
        unsigned long long first = 0;
        if (lane() == leader)
            first = atomicAdd(counts + query, static_cast<unsigned long long>(popcount(mask)));
        first = from_lane(first, leader);
        const std::int64_t at_key = static_cast<std::int64_t>(first) + popcount(mask & lanes_below());
        if (hit && at_key < capacity) keys[query * capacity + at_key] = key_of(distance, row);
    }
};

// Counters in shared memory, one for each warp, query of the tile and distance.
__device__ __forceinline__ unsigned* counters_of_warp(const Scan& scan, std::int64_t bins) {
    return reinterpret_cast<unsigned*>(dynamic_shared()) + warp() * scan.tile * bins;
}

// Rows within the bound at each distance, for each split: cells (queries, bins, splits + padding), see
// selection.cuh.
struct CountCells {
    static constexpr bool kRare = true;
    const int* bounds;
    std::int64_t* cells;
    std::int64_t cells_of_query;
    std::int64_t bins;

    __device__ int bound(std::int64_t query) const { return bounds[query]; }
    __device__ void begin(const Scan& scan, const Place&) const {
        unsigned* counters = counters_of_warp(scan, bins);
        for (std::int64_t i = lane(); i < scan.tile * bins; i += 32) counters[i] = 0;
        __syncwarp();
    }
    __device__ unsigned wanted(const Scan&, const Place&) const { return ~0u; }
    __device__ void visit(const Place& at, int q, std::int64_t, int distance, bool hit) const {
        unsigned* counters = reinterpret_cast<unsigned*>(dynamic_shared()) + (warp() * at.tile + q) * bins;
        if (hit) atomicAdd(counters + distance, 1u);
    }
    __device__ void end(const Scan& scan, const Place& at) const {
        __syncthreads();
        // Neighbouring threads write neighbouring splits of one distance.
        const unsigned* counters = reinterpret_cast<const unsigned*>(dynamic_shared());
        const std::int64_t first_split = static_cast<std::int64_t>(blockIdx.y) * warps();
        const std::int64_t count = at.queries * bins * warps();
        for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
            const std::int64_t w = i % warps(), d = i / warps() % bins, q = i / warps() / bins;
            const std::int64_t query = at.first_query + q;
            if (first_split + w < scan.splits && bounds[query] >= 0) {
                cells[query * cells_of_query + d * scan.splits + first_split + w] =
                    counters[(w * scan.tile + q) * bins + d];
            }
        }
    }
};

// Rows within the bound, each written at its place in the order (distance, row): the cells hold the place of
// the first row of each distance and split, and a warp meets its rows in order. Nothing is sorted.
struct WriteRanked {
    static constexpr bool kRare = true;
    const int* bounds;
    const std::int64_t* cells;
    std::int64_t cells_of_query;
    std::int64_t bins;
    std::int64_t limit;           // places a query, at most
    const std::int64_t* offsets;  // where each query's results begin; null: at query * limit
    std::int32_t* distances;
    std::int64_t* ids;

    __device__ int bound(std::int64_t query) const { return bounds[query]; }
    __device__ void begin(const Scan& scan, const Place&) const {
        unsigned* counters = counters_of_warp(scan, bins);
        for (std::int64_t i = lane(); i < scan.tile * bins; i += 32) counters[i] = 0;
        __syncwarp();
    }
    __device__ void end(const Scan&, const Place&) const {}

    // The queries of which this split holds any result: few where k is small or ties are many.
    __device__ unsigned wanted(const Scan& scan, const Place& at) const {
        unsigned mask = 0;
        if (at.split >= scan.splits) return mask;
        for (int q = 0; q < at.queries; ++q) {
            const std::int64_t query = at.first_query + q;
            const std::int64_t* cell = cells + query * cells_of_query + at.split;
            bool some = false;
            for (std::int64_t d = lane(); d <= bounds[query] && d < bins; d += 32) {
                const std::int64_t place = cell[d * scan.splits];
                some |= place < limit && cell[d * scan.splits + 1] > place;
            }
            if (any(some)) mask |= 1u << q;
        }
        return mask;
    }

    __device__ void visit(const Place& at, int q, std::int64_t row, int distance, bool hit) const {
        unsigned left = ballot(hit);
        if (left == 0) return;
        const std::int64_t query = at.first_query + q;
        unsigned* counters = reinterpret_cast<unsigned*>(dynamic_shared()) + (warp() * at.tile + q) * bins;
        while (left != 0) {
            const int leader = __ffs(static_cast<int>(left)) - 1;
            const int d = from_lane(distance, leader);
            const unsigned same = ballot(hit && distance == d);
            const unsigned before = counters[d];
            __syncwarp();
            if (lane() == leader) counters[d] = before + static_cast<unsigned>(popcount(same));
            __syncwarp();
            if (hit && distance == d) {
                const std::int64_t place = cells[query * cells_of_query + d * at.splits + at.split] +
                                           static_cast<std::int64_t>(before) + popcount(same & lanes_below());
                if (place < limit) {
                    const std::int64_t out = (offsets != nullptr ? offsets[query] : query * limit) + place;
                    distances[out] = d;
                    ids[out] = row;
                }
            }
            left &= ~same;
        }
    }
};

}  // namespace dmth_fast::cuda
