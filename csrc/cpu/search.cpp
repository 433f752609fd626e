// Exact k nearest rows: a scan that keeps, for each query and slice of rows, the best k so far.
#include <vector>

#include "../retrieval.h"
#include "cut.h"
#include "kernels.h"
#include "selection.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kGroupQueries = 128;

// Numbers of the set bits of a block's mask, ascending.
std::int64_t rows_of(const std::uint64_t* mask, std::uint32_t* rows) {
    std::int64_t n = 0;
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        for (std::uint64_t left = mask[word]; left != 0; left &= left - 1) {
            rows[n++] = static_cast<std::uint32_t>(word * 64 + __builtin_ctzll(left));
        }
    }
    return n;
}

}  // namespace

void search(Codes codes, Codes queries, std::int64_t k, std::int32_t* distances, std::int64_t* ids,
            const Call& call) {
    const Kernels& kernels = *call.kernels;
    const std::int64_t bits = codes.bytes * 8;
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    const std::int64_t slices = cut.slices();
    std::vector<std::vector<Selector>> found(static_cast<std::size_t>(cut.tasks()));

    const auto scan = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        std::vector<Selector> selectors;
        selectors.reserve(static_cast<std::size_t>(task.query_end - task.query_begin));
        for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
            selectors.emplace_back(k, bits, static_cast<std::int32_t>(bits));
        }
        std::uint64_t mask[kBlockWords];
        std::uint32_t rows[kBlockRows];
        std::int32_t near[kBlockRows];
        for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += kChunkRows) {
            const std::int64_t chunk_end = std::min(task.row_end, chunk + kChunkRows);
            for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
                Selector& selector = selectors[static_cast<std::size_t>(q - task.query_begin)];
                for (std::int64_t block = chunk; block < chunk_end && selector.bound() >= 0;
                     block += kBlockRows) {
                    const std::int64_t n = std::min(kBlockRows, chunk_end - block);
                    if (!kernels.rows_within(codes.row(block), n, codes.bytes, queries.row(q),
                                             selector.bound(), mask))
                        continue;
                    const std::int64_t hits = rows_of(mask, rows);
                    kernels.distances_at(codes.row(block), codes.bytes, rows, hits, queries.row(q), near);
                    selector.offer(rows, near, hits, block);
                }
            }
        }
        found[static_cast<std::size_t>(index)] = std::move(selectors);
    };
    if (!parallel_for(cut.tasks(), call.threads, scan, call.interrupted)) return;

    const auto merge = [&](std::int64_t q, int) {
        const std::int64_t g = q / cut.group;
        std::vector<const Selector*> parts;
        for (std::int64_t s = 0; s < slices; ++s) {
            parts.push_back(
                &found[static_cast<std::size_t>(g * slices + s)][static_cast<std::size_t>(q % cut.group)]);
        }
        Selector::merge(parts, k, bits, distances + q * k, ids + q * k);
    };
    parallel_for(queries.rows, call.threads, merge, call.interrupted);
}

}  // namespace dmth_fast::cpu
