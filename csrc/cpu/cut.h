// How the work of queries x rows is cut into tasks.
//
// Groups of queries times slices of rows. One group of queries keeps its state in the L2 cache. Threads
// divide the queries where an index has the planes of all rows and there are enough queries: each query then
// meets one bound that falls. Otherwise rows are sliced as soon as the groups alone would leave threads idle.
// A slice begins at a block, and finds its own bounds from loose ones: so there is one slice a thread, and
// two where rows are many enough to pay for evening out threads of unequal speed. Few queries take so little
// time that a thread may come late: their slices are many.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels.h"

namespace dmth_fast::cpu {

// Rows or planes that one thread keeps in its L2 cache while all queries of a group pass over them.
inline constexpr std::int64_t kChunkBytes = 192 << 10;

// Rows of a slice that are worth a task of their own. Measured with 100 queries on 1 M and 10 M codes of 64
// bits.
inline constexpr std::int64_t kSliceRows = std::int64_t{1} << 20;

// Queries a thread that pay for its own pass over planes: below, kernel "tab" makes its items for too few.
inline constexpr std::int64_t kShareQueries = 32;

// Few queries, and the rows of their slices: some 10 us of work.
inline constexpr std::int64_t kFewQueries = 4;
inline constexpr std::int64_t kFewSliceRows = std::int64_t{1} << 16;

struct Cut {
    std::int64_t rows;
    std::int64_t queries;
    std::int64_t group;
    std::int64_t slice;

    // `share`: threads may divide the queries. `k`: rows that each query looks for in a slice.
    Cut(std::int64_t rows_, std::int64_t queries_, int threads, std::int64_t group_, bool share = false,
        std::int64_t k = 1)
        : rows(rows_), queries(queries_), group(std::clamp<std::int64_t>(queries_, 1, group_)) {
        if (share && queries >= threads * kShareQueries) {
            group = std::min(group, (queries + threads - 1) / threads);
        }
        std::int64_t wanted = 1;
        if (threads > 1 && queries <= kFewQueries) {
            wanted =
                threads * std::clamp<std::int64_t>(rows / (threads * std::max(kFewSliceRows, 64 * k)), 1, 4);
        } else if (threads > 1) {
            wanted = threads * std::clamp<std::int64_t>(rows / (threads * kSliceRows), 1, 2);
        }
        const std::int64_t enough = std::max<std::int64_t>(1, groups());
        const std::int64_t cuts = (wanted + enough - 1) / enough;
        const std::int64_t even = (rows + cuts - 1) / cuts;
        slice = std::max(kBlockRows, (even + kBlockRows - 1) / kBlockRows * kBlockRows);
        slice =
            std::min<std::int64_t>(slice, std::int64_t{1} << 31);  // rows within a slice are 32-bit numbers
    }

    std::int64_t groups() const { return (queries + group - 1) / group; }
    std::int64_t slices() const { return (rows + slice - 1) / slice; }
    std::int64_t tasks() const { return groups() * slices(); }

    struct Task {
        std::int64_t query_begin, query_end, row_begin, row_end, slice;
    };
    Task task(std::int64_t i) const {
        const std::int64_t g = i / slices();
        const std::int64_t s = i % slices();
        return {g * group, std::min(queries, (g + 1) * group), s * slice, std::min(rows, (s + 1) * slice), s};
    }
};

}  // namespace dmth_fast::cpu
