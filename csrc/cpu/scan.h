// The scan that search, range search and counting share: blocks of rows against queries with bounds.
//
// Contract. scan(...) calls on_hits(q, first, mask) for each query q of the task (counted from the task's
// first one) and block that holds rows within the query's bound, blocks ascending for each query. on_hits may
// lower the bound. Few queries read the rows as they are; more read bit planes, either those of an index or,
// chunk by chunk, planes made in the thread's own scratch memory, small enough to stay in the L2 cache for
// all queries.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "../codes.h"
#include "cut.h"
#include "kernels.h"
#include "planes.h"
#include "queries.h"
#include "threads.h"

namespace dmth_fast::cpu {

// Rows, and their bit planes where an index keeps them.
struct Source {
    Codes codes;
    const std::uint64_t* const* blocks = nullptr;  // one address for each block of rows
};

class Bounds {
  public:
    Bounds(Codes queries, std::int64_t begin, std::int64_t end, const PlaneLayout& layout, bool planes)
        : bounds_(static_cast<std::size_t>(end - begin), layout.planes) {
        for (std::int64_t q = begin; planes && q < end; q += PlaneQueries::kMost) {
            const std::int64_t count = std::min(PlaneQueries::kMost, end - q);
            tiles_.push_back(
                std::make_unique<PlaneQueries>(Codes{queries.row(q), count, queries.bytes}, layout));
        }
    }

    std::int32_t of(std::int64_t q) const { return bounds_[static_cast<std::size_t>(q)]; }
    void set(std::int64_t q, std::int32_t bound) {
        if (bounds_[static_cast<std::size_t>(q)] == bound) return;
        bounds_[static_cast<std::size_t>(q)] = bound;
        if (!tiles_.empty()) {
            tiles_[static_cast<std::size_t>(q / PlaneQueries::kMost)]->set_bound(q % PlaneQueries::kMost,
                                                                                 bound);
        }
    }
    const std::vector<std::unique_ptr<PlaneQueries>>& tiles() const { return tiles_; }

  private:
    std::vector<std::int32_t> bounds_;
    std::vector<std::unique_ptr<PlaneQueries>> tiles_;
};

// Whether planes pay for this many queries: an index has them, a one-shot search must make them first.
inline bool planes_pay(const Source& source, std::int64_t queries, const Kernels& kernels) {
    return queries >= (source.blocks != nullptr ? kernels.queries_for_planes : kernels.queries_to_transpose);
}

template <class OnHits>
void scan_rows(Codes codes, Codes queries, const Cut::Task& task, Bounds& bounds, const Kernels& kernels,
               const OnHits& on_hits) {
    std::uint64_t mask[kBlockWords];
    const std::int64_t chunk_rows = std::max(kBlockRows, kChunkBytes / codes.bytes / kBlockRows * kBlockRows);
    for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += chunk_rows) {
        if (stopped()) return;
        const std::int64_t chunk_end = std::min(task.row_end, chunk + chunk_rows);
        for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
            const std::int64_t local = q - task.query_begin;
            for (std::int64_t block = chunk; block < chunk_end && bounds.of(local) >= 0;
                 block += kBlockRows) {
                const std::int64_t n = std::min(kBlockRows, chunk_end - block);
                if (kernels.rows_within(codes.row(block), n, codes.bytes, queries.row(q), bounds.of(local),
                                        mask)) {
                    on_hits(local, block, mask);
                }
            }
        }
    }
}

template <class OnHits>
void scan_planes(const Source& source, const Cut::Task& task, Bounds& bounds, const Kernels& kernels,
                 const OnHits& on_hits) {
    const Codes& codes = source.codes;
    const PlaneLayout layout(codes.bytes);
    const std::int64_t block_bytes = layout.words() * 8;
    const std::int64_t chunk_blocks = std::max<std::int64_t>(1, kChunkBytes / block_bytes);
    struct Line {
        alignas(64) std::uint64_t words[kBlockWords];
    };
    std::unique_ptr<Line[]> scratch;
    if (source.blocks == nullptr) {
        scratch = std::make_unique_for_overwrite<Line[]>(
            static_cast<std::size_t>(chunk_blocks * layout.words() / kBlockWords));
    }
    PlaneHit hits[PlaneQueries::kMost + 1];  // a kernel stores before it knows whether the hit counts
    std::int32_t who[PlaneQueries::kMost + 1];
    std::vector<const std::uint64_t*> blocks(static_cast<std::size_t>(chunk_blocks));
    for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += chunk_blocks * kBlockRows) {
        if (stopped()) return;
        const std::int64_t chunk_end = std::min(task.row_end, chunk + chunk_blocks * kBlockRows);
        const std::int64_t count = (chunk_end - chunk + kBlockRows - 1) / kBlockRows;
        for (std::int64_t b = 0; b < count; ++b) {
            const std::int64_t first = chunk + b * kBlockRows;
            if (source.blocks != nullptr) {
                blocks[static_cast<std::size_t>(b)] = source.blocks[first / kBlockRows];
                continue;
            }
            std::uint64_t* made = scratch[static_cast<std::size_t>(b * layout.words() / kBlockWords)].words;
            kernels.transpose(codes.row(first), std::min(kBlockRows, chunk_end - first), codes.bytes, made);
            blocks[static_cast<std::size_t>(b)] = made;
        }
        for (std::size_t tile = 0; tile < bounds.tiles().size(); ++tile) {
            const PlaneQueries& queries = *bounds.tiles()[tile];
            const std::int64_t base = static_cast<std::int64_t>(tile) * PlaneQueries::kMost;
            if (stopped()) return;
            for (std::int64_t b = 0; b < count && queries.alive() > 0; ++b) {
                const std::int64_t first = chunk + b * kBlockRows;
                const std::uint64_t* next = b + 1 < count ? blocks[static_cast<std::size_t>(b) + 1] : nullptr;
                const std::int64_t n = chunk_end - first;
                std::int64_t ahead = 0;
                for (const PlaneRun& run : queries.runs()) {
                    if (next != nullptr && source.blocks != nullptr) {
                        const std::int64_t until = std::min(block_bytes / 8, ahead + run.count * kBlockWords);
                        for (; ahead < until; ahead += kBlockWords) __builtin_prefetch(next + ahead, 0, 2);
                    }
                    const std::int64_t found =
                        kernels.sel(blocks[static_cast<std::size_t>(b)], codes.bytes, run, hits, who);
                    for (std::int64_t i = 0; i < found; ++i) {
                        std::uint64_t* mask = hits[i].mask;
                        if (n < kBlockRows) {  // the last block: rows that do not exist are zero codes
                            std::uint64_t any = 0;
                            for (std::int64_t w = 0; w < kBlockWords; ++w) {
                                const std::int64_t left = std::clamp<std::int64_t>(n - w * 64, 0, 64);
                                mask[w] &= left == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
                                any |= mask[w];
                            }
                            if (any == 0) continue;
                        }
                        on_hits(base + who[i], first, mask);
                    }
                }
            }
        }
    }
}

template <class OnHits>
void scan(const Source& source, Codes queries, const Cut::Task& task, Bounds& bounds, const Kernels& kernels,
          const OnHits& on_hits) {
    if (bounds.tiles().empty()) {
        scan_rows(source.codes, queries, task, bounds, kernels, on_hits);
    } else {
        scan_planes(source, task, bounds, kernels, on_hits);
    }
}

// Numbers of the set bits of a block's mask, ascending.
inline std::int64_t rows_of(const std::uint64_t* mask, std::uint32_t first, std::uint32_t* rows) {
    std::int64_t n = 0;
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        for (std::uint64_t left = mask[word]; left != 0; left &= left - 1) {
            rows[n++] = first + static_cast<std::uint32_t>(word * 64 + __builtin_ctzll(left));
        }
    }
    return n;
}

}  // namespace dmth_fast::cpu
