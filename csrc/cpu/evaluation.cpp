// What every retrieval metric needs: rows and relevant rows at each distance, or the ranks of the relevant
// rows.
//
// Both count instead of sorting. Histograms add over slices of rows. Ranks take two scans a query: the first
// counts rows at each distance, so that the second, in ascending order of rows, knows the rank of each row as
// it comes.
#include <algorithm>
#include <mutex>
#include <vector>

#include "../retrieval.h"
#include "cut.h"
#include "kernels.h"
#include "tally.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kTileRows = 4096;
constexpr std::int64_t kGroupQueries = 16;

// flags[i] = whether row first + i is relevant to query q, as 0 or 1.
void relevance(Labels codes, Labels queries, std::int64_t q, std::int64_t first, std::int64_t n,
               std::uint8_t* flags) {
    if (codes.classes != nullptr) {
        const std::int64_t wanted = queries.classes[q];
        for (std::int64_t i = 0; i < n; ++i) flags[i] = codes.classes[first + i] == wanted;
        return;
    }
    const std::int64_t words = codes.words;
    const std::uint64_t* wanted = queries.masks + q * words;
    for (std::int64_t i = 0; i < n; ++i) {
        const std::uint64_t* mask = codes.masks + (first + i) * words;
        std::uint64_t shared = 0;
        for (std::int64_t w = 0; w < words; ++w) shared |= mask[w] & wanted[w];
        flags[i] = shared != 0;
    }
}

// visit(distances, flags, n) for each tile of rows [begin, end), ascending.
template <class Visit>
void for_tiles(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t q,
               std::int64_t begin, std::int64_t end, const Kernels& kernels, const Visit& visit) {
    std::int32_t distances[kTileRows];
    std::uint8_t flags[kTileRows];
    for (std::int64_t first = begin; first < end; first += kTileRows) {
        if (stopped()) return;
        const std::int64_t n = std::min(kTileRows, end - first);
        kernels.distances(codes.row(first), n, codes.bytes, queries.row(q), distances);
        relevance(code_labels, query_labels, q, first, n, flags);
        visit(distances, flags, n);
    }
}

}  // namespace

bool histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t bits,
                std::int64_t* all, std::int64_t* relevant, const Call& call) {
    // Comparing class ids one by one costs less than comparing masks.
    const std::int64_t enough = call.kernels->queries_to_slice + (code_labels.classes != nullptr ? 1 : 0);
    if (codes.rows > 0 && queries.rows >= enough) {
        const auto known = relevance_of(code_labels, codes.rows, query_labels, queries.rows, 1);
        return tally_rows(codes, queries, *known, 1, bits, all, relevant, 1, call);
    }
    const auto bins = static_cast<std::size_t>(bits) + 1;
    const Cut cut(codes.rows, queries.rows, call.threads, kGroupQueries);
    std::mutex mutex;
    const auto count = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        std::vector<std::int64_t> pairs(2 * bins);  // not relevant and relevant rows, side by side
        for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
            std::fill(pairs.begin(), pairs.end(), 0);
            for_tiles(codes, queries, code_labels, query_labels, q, task.row_begin, task.row_end,
                      *call.kernels,
                      [&](const std::int32_t* distances, const std::uint8_t* flags, std::int64_t n) {
                          for (std::int64_t i = 0; i < n; ++i) {
                              ++pairs[2 * static_cast<std::size_t>(distances[i]) + flags[i]];
                          }
                      });
            const std::lock_guard lock(mutex);
            std::int64_t* all_of = all + q * static_cast<std::int64_t>(bins);
            std::int64_t* relevant_of = relevant + q * static_cast<std::int64_t>(bins);
            for (std::size_t d = 0; d < bins; ++d) {
                all_of[d] += pairs[2 * d] + pairs[2 * d + 1];
                relevant_of[d] += pairs[2 * d + 1];
            }
        }
    };
    return parallel_for(cut.tasks(), call.threads, count, call.interrupted);
}

void graded_histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t bits,
                       int levels, std::int64_t* counts, const Call& call) {
    if (codes.rows == 0) return;
    const auto known = relevance_of(code_labels, codes.rows, query_labels, queries.rows, levels - 1);
    tally_rows(codes, queries, *known, levels - 1, bits, counts, counts + 1, levels, call);
    for (std::int64_t i = 0; i < queries.rows * (bits + 1); ++i) {
        for (int level = 1; level < levels; ++level) counts[i * levels] -= counts[i * levels + level];
    }
}

}  // namespace dmth_fast::cpu
