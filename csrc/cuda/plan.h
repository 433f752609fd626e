// How a verb is cut into launches: tiles of queries, splits of rows, stages, workspaces. Plain C++, no device
// needed.
//
// Contract. A plan is a pure function of shapes, the device's numbers and a memory budget. Results never
// depend on it. `workspace_bytes` is all the memory that a verb uses beside its inputs and outputs; the
// caller provides it, aligned to 256 bytes. A budget that does not hold the smallest plan is a
// std::length_error that names the bytes.
#pragma once

#include <cstdint>
#include <vector>

namespace dmth_fast::cuda {

inline constexpr int kTileQueries = 8;    // queries that a block of the scan holds
inline constexpr int kMostThreads = 256;  // threads of its blocks, at most
inline constexpr int kMostWarps = kMostThreads / 32;
inline constexpr int kTensorTile = 64;              // queries that a warp of the tensor core scan holds
inline constexpr int kTensorCountTile = 16;         // the same, of its histograms of long codes
inline constexpr int kSlicedTile = 128;             // queries that a block of the bit-sliced scan holds
inline constexpr std::int64_t kMostSplits = 65535;  // blocks along y

struct Machine {
    int multiprocessors;
    int shared_bytes;  // dynamic, that a block may ask for: most_dynamic_shared
    int major;         // compute capability
    int minor;
    bool warpgroup = false;  // has the warpgroup's product, and this build has code for it
};

// How candidates are found: the popcount scan (any width), tensor cores (up to 512 bits; by warps or, on 9.0,
// by warpgroups) or bit slices (up to 64); kAuto chooses.
enum class Method { kAuto, kPopcount, kTensor, kSliced, kWarpgroup };

// How a set of rows is spread over warps.
struct Cut {
    int tile;   // queries a block
    int warps;  // warps (of kWarpgroup: warpgroups) a block, each with its own split
    std::int64_t splits;
    std::int64_t rows_per_split;  // a multiple of 32
};

// A pass over rows [first, end) by `method` (never kAuto).
struct Stage {
    std::int64_t first;
    std::int64_t end;
    Method method;
    Cut cut;
};

// Search. With `stages` (small k) candidates are collected in passes over growing ranges of rows; the k-th
// distance after each is a strict bound for the next, since rows come in order. A query whose candidates
// outgrow `capacity` is done again by counting. Without stages (large k) all queries are counted, below a
// bound from the first `bound_rows` rows.
struct SearchPlan {
    std::int64_t rows;
    std::int64_t queries;
    std::int64_t k;
    int bytes;
    std::int64_t queries_per_pass;
    std::int64_t capacity;    // keys of a query, a power of two; 0: count at once
    std::int64_t bound_rows;  // 0: no bound
    Cut bound_cut;
    std::vector<Stage> stages;
    Cut count_cut;
    std::int64_t workspace_bytes;

    std::int64_t bins() const { return 8 * std::int64_t{bytes} + 1; }
    std::int64_t cells_of_query() const { return bins() * count_cut.splits + 1; }
};

struct RangePlan {
    std::int64_t rows;
    std::int64_t queries;
    int bytes;
    std::int64_t queries_per_pass;
    Cut cut;
    std::int64_t workspace_bytes;

    std::int64_t bins() const { return 8 * std::int64_t{bytes} + 1; }
    std::int64_t cells_of_query() const { return bins() * cut.splits + 1; }
};

// All rows against all queries in one pass without memory between blocks (distances, histograms);
// `shared_of_query` is the shared memory that a block needs for each query of its tile.
Cut plan_scan(std::int64_t rows, std::int64_t queries, std::int64_t shared_of_query, const Machine& machine);

// Histograms of all rows for all queries: `counter_bytes` of shared memory a query.
struct CountPlan {
    Method method;  // kPopcount or kTensor
    Cut cut;
};
CountPlan plan_histograms(std::int64_t rows, std::int64_t queries, int bytes, std::int64_t counter_bytes,
                          Method method, const Machine& machine);

SearchPlan plan_search(std::int64_t rows, std::int64_t queries, int bytes, std::int64_t k, Method method,
                       const Machine& machine, std::int64_t budget);

RangePlan plan_range(std::int64_t rows, std::int64_t queries, int bytes, const Machine& machine,
                     std::int64_t budget);

// The widest access, of 16, 8, 4 or 1 bytes, that an address and a pitch allow.
int access_unit(const void* data, std::int64_t bytes);

// Shared memory of the counting kernels: one 32-bit counter for each warp, query and distance.
std::int64_t counter_bytes(int bytes, int warps, int tile);

}  // namespace dmth_fast::cuda
