// Ranks in the order (distance, row), by counting: nothing is sorted.
//
// The histograms of distances say where each distance begins in the ranking, and where its relevant rows
// begin among the relevant ones. A second pass in ascending order of rows then knows the rank of each row as
// it comes: a counter for each distance holds the next rank in its lower half and the place of the next
// relevant row in its upper half. Cost: the histograms, the distances, and about ten instructions without a
// branch for each pair.
#include <algorithm>
#include <memory>
#include <vector>

#include "../retrieval.h"
#include "kernels.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kTileRows = 1024;
constexpr std::int64_t kGroupQueries = 512;  // histograms that exist at one time, for each thread

std::int32_t distance_of(Codes codes, std::int64_t row, const std::uint8_t* query, const Kernels& kernels) {
    std::int32_t distance = 0;
    kernels.distances(codes.row(row), 1, codes.bytes, query, &distance);
    return distance;
}

// Whether masks share a bit, as 0 or 1.
void shares(Labels rows, const std::uint64_t* wanted, std::int64_t first, std::int64_t n,
            std::uint8_t* flags) {
    const std::uint64_t* mask = rows.masks + first * rows.words;
    if (rows.words == 1) {
        for (std::int64_t i = 0; i < n; ++i) flags[i] = (mask[i] & *wanted) != 0;
        return;
    }
    for (std::int64_t i = 0; i < n; ++i, mask += rows.words) {
        std::uint64_t shared = 0;
        for (std::int64_t w = 0; w < rows.words; ++w) shared |= mask[w] & wanted[w];
        flags[i] = shared != 0;
    }
}

// Takes the counters of one query over a tile of rows. Without a branch on relevance, which no processor
// predicts: the counters of relevant rows are put down one after another first.
template <class Relevant>
void advance(const std::int32_t* distances, std::int64_t n, const Relevant& relevant, std::uint64_t* counters,
             std::int64_t* ranks) {
    std::uint64_t taken[kTileRows];
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        std::uint64_t& counter = counters[distances[i]];
        const std::uint64_t now = counter;
        const std::uint64_t is_relevant = relevant(i);
        taken[count] = now;
        count += static_cast<std::int64_t>(is_relevant);
        counter = now + 1 + (is_relevant << 32);
    }
    for (std::int64_t i = 0; i < count; ++i) {
        ranks[taken[i] >> 32] = static_cast<std::int64_t>(taken[i] & 0xffffffffu);
    }
}

}  // namespace

RankResult relevant_ranks(Codes codes, Codes queries, Labels code_labels, Labels query_labels,
                          const Call& call) {
    const std::int64_t bits = codes.bytes * 8;
    const auto bins = static_cast<std::size_t>(bits) + 1;
    RankResult result;
    result.offsets.assign(static_cast<std::size_t>(queries.rows) + 1, 0);

    // Ranks of a group of queries follow those of the groups before it.
    std::vector<std::int64_t> all;
    std::vector<std::int64_t> relevant;
    std::vector<std::unique_ptr<std::int64_t[]>> parts;
    const std::int64_t group = kGroupQueries * call.threads;
    for (std::int64_t first = 0; first < queries.rows; first += group) {
        const std::int64_t asked = std::min(group, queries.rows - first);
        const Codes some{queries.row(first), asked, queries.bytes};
        Labels labels = query_labels;
        if (labels.classes != nullptr) labels.classes += first;
        if (labels.masks != nullptr) labels.masks += first * labels.words;
        all.assign(static_cast<std::size_t>(asked) * bins, 0);
        relevant.assign(static_cast<std::size_t>(asked) * bins, 0);
        // Counts of an interrupted pass are too low, and what follows writes as many ranks as there are rows.
        if (!histograms(codes, some, code_labels, labels, bits, all.data(), relevant.data(), call))
            return result;
        for (std::int64_t q = 0; q < asked; ++q) {
            std::int64_t found = 0;
            for (std::size_t d = 0; d < bins; ++d) found += relevant[static_cast<std::size_t>(q) * bins + d];
            result.offsets[static_cast<std::size_t>(first + q) + 1] =
                result.offsets[static_cast<std::size_t>(first + q)] + found;
        }
        const std::int64_t base = result.offsets[static_cast<std::size_t>(first)];
        parts.push_back(std::make_unique_for_overwrite<std::int64_t[]>(
            static_cast<std::size_t>(result.offsets[static_cast<std::size_t>(first + asked)] - base)));
        std::int64_t* of_group = parts.back().get();
        const auto rank = [&](std::int64_t q, int) {
            std::vector<std::uint64_t> counters(bins);
            std::uint64_t next = 1;  // ranks count from 1
            std::uint64_t place = 0;
            for (std::size_t d = 0; d < bins; ++d) {
                counters[d] = next | place << 32;
                next += static_cast<std::uint64_t>(all[static_cast<std::size_t>(q) * bins + d]);
                place += static_cast<std::uint64_t>(relevant[static_cast<std::size_t>(q) * bins + d]);
            }
            std::int64_t* ranks = of_group + result.offsets[static_cast<std::size_t>(first + q)] - base;
            std::int32_t distances[kTileRows];
            std::uint8_t flags[kTileRows];
            for (std::int64_t tile = 0; tile < codes.rows; tile += kTileRows) {
                if (stopped()) return;
                const std::int64_t n = std::min(kTileRows, codes.rows - tile);
                call.kernels->distances(codes.row(tile), n, codes.bytes, some.row(q), distances);
                if (labels.classes != nullptr) {
                    const std::int64_t* classes = code_labels.classes + tile;
                    const std::int64_t wanted = labels.classes[q];
                    const auto equal = [=](std::int64_t i) { return classes[i] == wanted; };
                    advance(distances, n, equal, counters.data(), ranks);
                } else {
                    shares(code_labels, labels.masks + q * labels.words, tile, n, flags);
                    const auto flagged = [&](std::int64_t i) { return flags[i]; };
                    advance(distances, n, flagged, counters.data(), ranks);
                }
            }
        };
        if (!parallel_for(asked, call.threads, rank, call.interrupted)) return result;
    }
    if (parts.size() == 1) {
        result.ranks = std::move(parts[0]);
        return result;
    }
    result.ranks =
        std::make_unique_for_overwrite<std::int64_t[]>(static_cast<std::size_t>(result.offsets.back()));
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const auto end = std::min((i + 1) * static_cast<std::size_t>(group), result.offsets.size() - 1);
        const std::int64_t from = result.offsets[i * static_cast<std::size_t>(group)];
        std::copy_n(parts[i].get(), result.offsets[end] - from, result.ranks.get() + from);
        parts[i].reset();
    }
    return result;
}

void self_ranks(Codes codes, Codes queries, const std::int64_t* rows, std::int64_t* ranks, const Call& call) {
    const auto rank = [&](std::int64_t q, int) {
        const std::int64_t own = rows[q];
        ranks[q] = 0;
        if (own < 0) return;
        const std::int32_t bound = distance_of(codes, own, queries.row(q), *call.kernels);
        std::int32_t distances[kTileRows];
        std::int64_t before = 0;
        for (std::int64_t tile = 0; tile < codes.rows; tile += kTileRows) {
            if (stopped()) return;
            const std::int64_t n = std::min(kTileRows, codes.rows - tile);
            call.kernels->distances(codes.row(tile), n, codes.bytes, queries.row(q), distances);
            const std::int64_t equal = std::clamp<std::int64_t>(own - tile, 0, n);  // rows before its own
            std::int32_t found = 0;
            for (std::int64_t i = 0; i < equal; ++i) found += distances[i] <= bound;
            for (std::int64_t i = equal; i < n; ++i) found += distances[i] < bound;
            before += found;
        }
        ranks[q] = before + 1;
    };
    parallel_for(queries.rows, call.threads, rank, call.interrupted);
}

void rank_sums(const std::int64_t* offsets, std::int64_t queries, const std::int64_t* ranks,
               const std::int64_t* cutoffs, std::int64_t* hits, double* precisions, const Call& call) {
    constexpr std::int64_t kTask = 64;
    const auto sum = [&](std::int64_t index, int) {
        const std::int64_t end = std::min(queries, (index + 1) * kTask);
        for (std::int64_t q = index * kTask; q < end; ++q) {
            const std::int64_t* from = ranks + offsets[q];
            const std::int64_t* to = std::upper_bound(from, ranks + offsets[q + 1], cutoffs[q]);
            hits[q] = to - from;
            double parts[4] = {};  // independent sums: a quotient takes longer than an addition
            for (std::int64_t j = 0; j < to - from; ++j) {
                parts[j % 4] += static_cast<double>(j + 1) / static_cast<double>(from[j]);
            }
            precisions[q] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        }
    };
    parallel_for((queries + kTask - 1) / kTask, call.threads, sum, call.interrupted);
}

}  // namespace dmth_fast::cpu
