// Every row within a radius, as counts or as lists ordered by (distance, row); and the full matrix of
// distances.
//
// Lists are found in one scan, a growing list for each query and slice; a counting sort then writes each
// query's rows to their final places. Nothing is sorted by comparison, and rows come out ascending because
// slices do.
#include <algorithm>
#include <vector>

#include "../retrieval.h"
#include "cut.h"
#include "kernels.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kGroupQueries = 32;

struct Near {
    std::int64_t id;
    std::int32_t distance;
};

// visit(query, first row of the block, mask) for each block that holds a row within the radius.
template <class Visit>
void scan_slice(Codes codes, Codes queries, std::int32_t radius, const Kernels& kernels,
                const Cut::Task& task, const Visit& visit) {
    std::uint64_t mask[kBlockWords];
    for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += kChunkRows) {
        const std::int64_t chunk_end = std::min(task.row_end, chunk + kChunkRows);
        for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
            for (std::int64_t block = chunk; block < chunk_end; block += kBlockRows) {
                const std::int64_t n = std::min(kBlockRows, chunk_end - block);
                if (kernels.rows_within(codes.row(block), n, codes.bytes, queries.row(q), radius, mask)) {
                    visit(q, block, mask);
                }
            }
        }
    }
}

}  // namespace

RangeResult range_search(Codes codes, Codes queries, std::int32_t radius, const Call& call) {
    const Kernels& kernels = *call.kernels;
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const std::int64_t slices = cut.slices();
    std::vector<std::vector<Near>> found(static_cast<std::size_t>(queries.rows * slices));
    RangeResult result;
    result.offsets.assign(static_cast<std::size_t>(queries.rows) + 1, 0);

    const auto scan = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        std::uint32_t rows[kBlockRows];
        std::int32_t near[kBlockRows];
        scan_slice(codes, queries, radius, kernels, task,
                   [&](std::int64_t q, std::int64_t block, const std::uint64_t* mask) {
                       std::vector<Near>& list = found[static_cast<std::size_t>(q * slices + task.slice)];
                       std::int64_t hits = 0;
                       for (std::int64_t word = 0; word < kBlockWords; ++word) {
                           for (std::uint64_t left = mask[word]; left != 0; left &= left - 1) {
                               rows[hits++] = static_cast<std::uint32_t>(word * 64 + __builtin_ctzll(left));
                           }
                       }
                       kernels.distances_at(codes.row(block), codes.bytes, rows, hits, queries.row(q), near);
                       for (std::int64_t i = 0; i < hits; ++i) list.push_back({block + rows[i], near[i]});
                   });
    };
    if (!parallel_for(cut.tasks(), call.threads, scan, call.interrupted)) return result;

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

void range_count(Codes codes, Codes queries, std::int32_t radius, std::int64_t* counts, const Call& call) {
    const Kernels& kernels = *call.kernels;
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const std::int64_t slices = cut.slices();
    std::vector<std::int64_t> parts(static_cast<std::size_t>(queries.rows * slices), 0);
    const auto scan = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        scan_slice(codes, queries, radius, kernels, task,
                   [&](std::int64_t q, std::int64_t, const std::uint64_t* mask) {
                       std::int64_t& count = parts[static_cast<std::size_t>(q * slices + task.slice)];
                       for (std::int64_t word = 0; word < kBlockWords; ++word) {
                           count += __builtin_popcountll(mask[word]);
                       }
                   });
    };
    if (!parallel_for(cut.tasks(), call.threads, scan, call.interrupted)) return;
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        counts[q] = 0;
        for (std::int64_t s = 0; s < slices; ++s)
            counts[q] += parts[static_cast<std::size_t>(q * slices + s)];
    }
}

void hamming_distances(Codes codes, Codes queries, std::int32_t* out, const Call& call) {
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const auto fill = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += kChunkRows) {
            const std::int64_t n = std::min(task.row_end - chunk, kChunkRows);
            for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
                call.kernels->distances(codes.row(chunk), n, codes.bytes, queries.row(q),
                                        out + q * codes.rows + chunk);
            }
        }
    };
    parallel_for(cut.tasks(), call.threads, fill, call.interrupted);
}

}  // namespace dmth_fast::cpu
