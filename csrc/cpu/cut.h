// How the work of queries x rows is cut into tasks.
//
// Groups of queries times slices of rows. One group of queries keeps its state in the L2 cache; rows are
// sliced as soon as the groups alone would leave threads idle, so that one query uses every core. A slice
// begins at a block, and finds its own bounds from loose ones: so there is one slice a thread, and two where
// rows are many enough to pay for evening out threads of unequal speed.
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

struct Cut {
    std::int64_t rows;
    std::int64_t queries;
    std::int64_t group;
    std::int64_t slice;

    Cut(std::int64_t rows_, std::int64_t queries_, int threads, std::int64_t group_)
        : rows(rows_), queries(queries_), group(std::clamp<std::int64_t>(queries_, 1, group_)) {
        const std::int64_t wanted =
            threads == 1 ? 1 : threads * std::clamp<std::int64_t>(rows / (threads * kSliceRows), 1, 2);
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
