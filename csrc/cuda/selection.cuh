// From candidates and counts to results in the order (distance, row).
//
// Cells. For each query, cells[distance][split] counts the rows of a split at a distance; one more number
// ends the list. The exclusive sum over that list in its order is the place of the first such row in the
// result, so a second pass that meets the rows of a split in order writes each result where it belongs. 8
// bytes a cell; nothing is sorted, any k, any number of ties.
//
// Keys. Small k keeps candidates as keys distance * 2^48 + row and sorts a few thousand of them in shared
// memory between the stages of a search (bitonic, n/2 log^2 n / 2 exchanges: about 20 us for 4,096 keys in a
// block, all queries at once).
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

inline constexpr int kFinished = -1;  // a bound that no distance meets
inline constexpr int kFailed = -2;    // the same, after more candidates than the capacity

struct SearchState {
    int* bounds;                 // distances wanted in the next stage, inclusive
    int* ceilings;               // an upper bound of the k-th distance, for a query that failed
    unsigned long long* counts;  // candidates seen
    unsigned long long* keys;    // (queries, capacity)
    std::int64_t capacity;
    std::int64_t k;
};

void start_search(const SearchState& state, std::int64_t queries, int bits, cudaStream_t stream);

// After a stage: keeps the k smallest keys of each query, sorted, and lowers its bound to one less than the
// k-th distance, since rows of later stages lose every tie. After the last stage writes the results, and
// leaves in `bounds` the ceiling of failed queries and kFinished for the others.
void tighten(const SearchState& state, std::int64_t queries, bool last, std::int32_t* distances,
             std::int64_t* ids, cudaStream_t stream);

// bounds[i] = the least distance within which histogram i (of `bins` counters) holds k rows, or bins - 1.
void bound_by_histogram(const unsigned long long* histograms, std::int64_t bins, std::int64_t k, int* bounds,
                        std::int64_t queries, cudaStream_t stream);

// Exclusive sums of the cells of each query whose bound is not negative, in place. Lowers the bound to the
// distance of the k-th row (k > 0), and writes the number of rows counted to `totals` (unless null).
void sum_cells(std::int64_t* cells, std::int64_t cells_of_query, std::int64_t bins, std::int64_t splits,
               std::int64_t k, int* bounds, std::int64_t* totals, std::int64_t queries, cudaStream_t stream);

void fill_bounds(int* bounds, int value, std::int64_t queries, cudaStream_t stream);

}  // namespace dmth_fast::cuda
