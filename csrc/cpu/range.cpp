// Every row within a radius, as counts or as lists ordered by (distance, row); and the full matrix of
// distances.
//
// Lists are found in one scan, a growing list for each query and slice; a counting sort then writes each
// query's rows to their final places. Nothing is sorted by comparison, and rows come out ascending because
// slices do.
#include <algorithm>
#include <vector>

#include "range.h"

#include "../retrieval.h"
#include "cut.h"
#include "kernels.h"
#include "scan.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kGroupQueries = 512;

constexpr std::int64_t kMatrixRows = 4096;

struct Near {
    std::int64_t id;
    std::int32_t distance;
};

// Calls on_hits(query, first row of the block, mask) for each block of a task that holds a row within the
// radius.
template <class OnHits>
void scan_radius(const Source& source, Codes queries, std::int32_t radius, const Cut::Task& task,
                 const Kernels& kernels, const OnHits& on_hits) {
    const std::int64_t count = task.query_end - task.query_begin;
    const PlaneLayout layout(source.codes.bytes);
    Bounds bounds(queries, task.query_begin, task.query_end, layout, kernels,
                  planes_pay(source, count, kernels));
    for (std::int64_t q = 0; q < count; ++q) bounds.set(q, radius);
    scan(source, queries, task, bounds, kernels,
         [&](std::int64_t q, std::int64_t block, const std::uint64_t* mask) {
             on_hits(task.query_begin + q, block, mask);
         });
}

}  // namespace

RangeResult range_source(const Source& source, Codes queries, std::int32_t radius, const Call& call) {
    const Codes& codes = source.codes;
    const Kernels& kernels = *call.kernels;
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const std::int64_t slices = cut.slices();
    std::vector<std::vector<Near>> found(static_cast<std::size_t>(queries.rows * slices));
    RangeResult result;
    result.offsets.assign(static_cast<std::size_t>(queries.rows) + 1, 0);

    const auto scan_task = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        std::uint32_t rows[kBlockRows + kExtractSlack];
        std::int32_t near[kBlockRows];
        scan_radius(source, queries, radius, task, kernels,
                    [&](std::int64_t q, std::int64_t block, const std::uint64_t* mask) {
                        std::vector<Near>& list = found[static_cast<std::size_t>(q * slices + task.slice)];
                        const std::int64_t hits = kernels.extract(mask, 0, rows);
                        kernels.distances_at(codes.row(block), codes.bytes, rows, hits, queries.row(q), near);
                        for (std::int64_t i = 0; i < hits; ++i) list.push_back({block + rows[i], near[i]});
                    });
    };
    if (!parallel_for(cut.tasks(), call.threads, scan_task, call.interrupted)) return result;

    for (std::int64_t q = 0; q < queries.rows; ++q) {
        std::size_t count = 0;
        for (std::int64_t s = 0; s < slices; ++s)
            count += found[static_cast<std::size_t>(q * slices + s)].size();
        result.offsets[static_cast<std::size_t>(q) + 1] =
            result.offsets[static_cast<std::size_t>(q)] + static_cast<std::int64_t>(count);
    }
    const auto total = static_cast<std::size_t>(result.offsets.back());
    result.distances = std::make_unique_for_overwrite<std::int32_t[]>(total);
    result.ids = std::make_unique_for_overwrite<std::int64_t[]>(total);
    const auto place = [&](std::int64_t q, int) {
        std::vector<std::int64_t> next(static_cast<std::size_t>(radius) + 2, 0);
        const auto lists = found.begin() + static_cast<std::ptrdiff_t>(q * slices);
        for (auto list = lists; list != lists + static_cast<std::ptrdiff_t>(slices); ++list) {
            for (const Near& near : *list) ++next[static_cast<std::size_t>(near.distance) + 1];
        }
        next[0] = result.offsets[static_cast<std::size_t>(q)];
        for (std::size_t d = 1; d < next.size(); ++d) next[d] += next[d - 1];
        for (auto list = lists; list != lists + static_cast<std::ptrdiff_t>(slices); ++list) {
            for (const Near& near : *list) {
                const std::int64_t at = next[static_cast<std::size_t>(near.distance)]++;
                result.distances[static_cast<std::size_t>(at)] = near.distance;
                result.ids[static_cast<std::size_t>(at)] = near.id;
            }
            std::vector<Near>().swap(*list);
        }
    };
    parallel_for(queries.rows, call.threads, place, call.interrupted);
    return result;
}

RangeResult range_search(Codes codes, Codes queries, std::int32_t radius, const Kept& kept,
                         const Call& call) {
    return range_source({.codes = codes, .kept = kept}, queries, radius, call);
}

void count_source(const Source& source, Codes queries, std::int32_t radius, std::int64_t* counts,
                  const Call& call) {
    const Codes& codes = source.codes;
    const Kernels& kernels = *call.kernels;
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const std::int64_t slices = cut.slices();
    std::vector<std::int64_t> parts(static_cast<std::size_t>(queries.rows * slices), 0);
    const auto scan_task = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        scan_radius(source, queries, radius, task, kernels,
                    [&](std::int64_t q, std::int64_t, const std::uint64_t* mask) {
                        std::int64_t& count = parts[static_cast<std::size_t>(q * slices + task.slice)];
                        for (std::int64_t word = 0; word < kBlockWords; ++word) {
                            count += __builtin_popcountll(mask[word]);
                        }
                    });
    };
    if (!parallel_for(cut.tasks(), call.threads, scan_task, call.interrupted)) return;
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        counts[q] = 0;
        for (std::int64_t s = 0; s < slices; ++s)
            counts[q] += parts[static_cast<std::size_t>(q * slices + s)];
    }
}

void range_count(Codes codes, Codes queries, std::int32_t radius, std::int64_t* counts, const Call& call) {
    count_source({.codes = codes}, queries, radius, counts, call);
}

void hamming_distances(Codes codes, Codes queries, std::int32_t* out, const Call& call) {
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const auto fill = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += kMatrixRows) {
            if (stopped()) return;
            const std::int64_t n = std::min(task.row_end - chunk, kMatrixRows);
            for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
                call.kernels->distances(codes.row(chunk), n, codes.bytes, queries.row(q),
                                        out + q * codes.rows + chunk);
            }
        }
    };
    parallel_for(cut.tasks(), call.threads, fill, call.interrupted);
}

}  // namespace dmth_fast::cpu
