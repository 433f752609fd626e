// The scan that search, range search and counting share: blocks of rows against queries with bounds.
//
// Contract. scan(...) calls on_hits(q, first, mask) for each query q of the task (counted from the task's
// first one) and block that holds rows within the query's bound, blocks ascending for each query. on_hits may
// lower the bound. Few queries read the rows as they are; more read bit planes, either those of an index or,
// chunk by chunk, planes made in the thread's own scratch memory, small enough to stay in the L2 cache for
// all queries. Rows that do not take part are taken out of masks that have hits; blocks without any that does
// are passed over.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "../codes.h"
#include "../retrieval.h"
#include "cut.h"
#include "kernels.h"
#include "planes.h"
#include "queries.h"
#include "slab.h"
#include "threads.h"

namespace dmth_fast::cpu {

// Rows, their bit planes where an index keeps them, and which of them take part.
struct Source {
    Codes codes;
    const std::uint64_t* const* blocks = nullptr;  // one address for each block of rows
    Kept kept{};

    std::int64_t taking_part() const { return kept.bits == nullptr ? codes.rows : kept.count; }
    // Whether the block that begins at `first` has a row that takes part.
    bool any_of_block(std::int64_t first) const {
        if (kept.bits == nullptr) return true;
        const std::uint64_t* words = kept.bits + first / 64;
        return std::any_of(words, words + kBlockWords, [](std::uint64_t word) { return word != 0; });
    }
    // Leaves the rows of a block's mask that take part. False if none is left.
    bool admit(std::int64_t first, std::uint64_t* mask) const {
        if (kept.bits == nullptr) return true;
        std::uint64_t any = 0;
        for (std::int64_t w = 0; w < kBlockWords; ++w) any |= mask[w] &= kept.bits[first / 64 + w];
        return any != 0;
    }
};

class Bounds {
  public:
    struct Tile {
        PlaneQueries sel;
        std::optional<TabQueries> tab;

        Tile(Codes queries, const PlaneLayout& layout, const Kernels& kernels) : sel(queries, layout) {
            if (queries.bytes <= TabQuery::kMostBytes &&
                8 * queries.rows >= kernels.queries_for_tab * queries.bytes) {
                tab.emplace(queries, kernels.tab_words);
            }
        }
        void set_bound(std::int64_t q, std::int32_t bound) {
            sel.set_bound(q, bound);
            if (tab) tab->set_bound(q, bound);
        }
        // Whether kernel "sel" serves it, which reads the planes of the weights.
        bool weighed() const { return !tab || !tab->bounded(); }
    };

    Bounds(Codes queries, std::int64_t begin, std::int64_t end, const PlaneLayout& layout,
           const Kernels& kernels, bool planes)
        : bounds_(static_cast<std::size_t>(end - begin), layout.planes) {
        for (std::int64_t q = begin; planes && q < end; q += PlaneQueries::kMost) {
            const std::int64_t count = std::min(PlaneQueries::kMost, end - q);
            tiles_.push_back(
                std::make_unique<Tile>(Codes{queries.row(q), count, queries.bytes}, layout, kernels));
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
    bool alive() const {
        return std::any_of(tiles_.begin(), tiles_.end(),
                           [](const auto& tile) { return tile->sel.alive() > 0; });
    }
    bool weighed() const {
        return std::any_of(tiles_.begin(), tiles_.end(), [](const auto& tile) { return tile->weighed(); });
    }
    const std::vector<std::unique_ptr<Tile>>& tiles() const { return tiles_; }

  private:
    std::vector<std::int32_t> bounds_;
    std::vector<std::unique_ptr<Tile>> tiles_;
};

// Whether planes pay for this many queries: an index has them, a one-shot search must make them first.
inline bool planes_pay(const Source& source, std::int64_t queries, const Kernels& kernels) {
    if (source.blocks != nullptr) return queries >= kernels.queries_for_planes;
    return queries >= kernels.queries_to_transpose + source.codes.bytes / 8;
}

template <class OnHits>
void scan_rows(const Source& source, Codes queries, const Cut::Task& task, Bounds& bounds,
               const Kernels& kernels, const OnHits& on_hits) {
    const Codes& codes = source.codes;
    std::uint64_t mask[kBlockWords];
    const std::int64_t chunk_rows = std::max(kBlockRows, kChunkBytes / codes.bytes / kBlockRows * kBlockRows);
    for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += chunk_rows) {
        if (stopped()) return;
        const std::int64_t chunk_end = std::min(task.row_end, chunk + chunk_rows);
        for (std::int64_t q = task.query_begin; q < task.query_end; ++q) {
            const std::int64_t local = q - task.query_begin;
            for (std::int64_t block = chunk; block < chunk_end && bounds.of(local) >= 0;
                 block += kBlockRows) {
                if (!source.any_of_block(block)) continue;
                const std::int64_t n = std::min(kBlockRows, chunk_end - block);
                if (kernels.rows_within(codes.row(block), n, codes.bytes, queries.row(q), bounds.of(local),
                                        mask) &&
                    source.admit(block, mask)) {
                    on_hits(local, block, mask);
                }
            }
        }
    }
}

// Leaves the first `rows` rows of a mask: a block's rows that do not exist are zero codes. False if none is
// left.
inline bool clip(std::uint64_t* mask, std::int64_t rows) {
    std::uint64_t any = 0;
    for (std::int64_t w = 0; w < kBlockWords; ++w) {
        const std::int64_t left = std::clamp<std::int64_t>(rows - w * 64, 0, 64);
        mask[w] &= left == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
        any |= mask[w];
    }
    return any != 0;
}

template <class OnHits>
void scan_planes(const Source& source, const Cut::Task& task, Bounds& bounds, const Kernels& kernels,
                 const OnHits& on_hits) {
    const Codes& codes = source.codes;
    const PlaneLayout layout(codes.bytes);
    const std::int64_t block_bytes = layout.words() * 8;
    const std::int64_t chunk_blocks = std::max<std::int64_t>(1, kChunkBytes / block_bytes);
    Slab scratch;
    if (source.blocks == nullptr) scratch = Slab(static_cast<std::size_t>(chunk_blocks * block_bytes));
    PlaneHit hits[PlaneQueries::kMost + 1];  // a kernel stores before it knows whether the hit counts
    std::int32_t who[PlaneQueries::kMost + 1];
    std::vector<const std::uint64_t*> blocks(static_cast<std::size_t>(chunk_blocks));
    // The first chunks are small: bounds fall early, and codes with many ties may need no more.
    std::int64_t chunk_rows = std::min<std::int64_t>(chunk_blocks, 8) * kBlockRows;
    std::int64_t chunk_end = task.row_begin;
    for (std::int64_t chunk = task.row_begin; chunk < task.row_end && bounds.alive(); chunk = chunk_end) {
        if (stopped()) return;
        chunk_end = std::min(task.row_end, chunk + chunk_rows);
        chunk_rows = std::min(2 * chunk_rows, chunk_blocks * kBlockRows);
        const std::int64_t count = (chunk_end - chunk + kBlockRows - 1) / kBlockRows;
        const std::int64_t ahead_rows = (chunk_rows + count - 1) / count;
        const std::int64_t ahead_lines =
            source.blocks != nullptr ? layout.words() / kBlockWords : ahead_rows * codes.bytes / 64 + 1;
        // Bounds only fall: tiles that do without weights now do so to the end of the chunk.
        const bool weighed = bounds.weighed();
        for (std::int64_t b = 0; b < count; ++b) {
            const std::int64_t first = chunk + b * kBlockRows;
            if (source.blocks != nullptr) {
                blocks[static_cast<std::size_t>(b)] = source.blocks[first / kBlockRows];
                continue;
            }
            if (!source.any_of_block(first)) continue;
            auto* made = scratch.at<std::uint64_t>(static_cast<std::size_t>(b * block_bytes));
            kernels.transpose(codes.row(first), std::min(kBlockRows, chunk_end - first), codes.bytes, made);
            if (weighed) kernels.weigh(codes.bytes, made);
            blocks[static_cast<std::size_t>(b)] = made;
        }
        for (std::size_t tile = 0; tile < bounds.tiles().size(); ++tile) {
            const Bounds::Tile& queries = *bounds.tiles()[tile];
            const std::int64_t base = static_cast<std::int64_t>(tile) * PlaneQueries::kMost;
            if (stopped()) return;
            for (std::int64_t b = 0; b < count && queries.sel.alive() > 0; ++b) {
                const std::int64_t first = chunk + b * kBlockRows;
                if (!source.any_of_block(first)) continue;
                const std::uint64_t* block = blocks[static_cast<std::size_t>(b)];
                const std::int64_t step = (ahead_lines + queries.sel.size() - 1) / queries.sel.size();
                Ahead ahead{nullptr, nullptr, step * kBlockWords};
                // The first tile fetches what comes next, an index's next block or this block's share of the
                // rows of the next chunk; the others find this chunk in the cache.
                if (tile == 0 && source.blocks == nullptr) {
                    const std::int64_t row = std::min(task.row_end, chunk_end + b * ahead_rows);
                    ahead.next = reinterpret_cast<const std::uint64_t*>(codes.row(row));
                    ahead.end = reinterpret_cast<const std::uint64_t*>(
                        codes.row(std::min(task.row_end, row + ahead_rows)));
                } else if (tile == 0 && first + kBlockRows < task.row_end) {
                    ahead.next = source.blocks[first / kBlockRows + 1];
                    ahead.end = ahead.next + layout.words();
                }
                const std::int64_t rows = std::min(kBlockRows, chunk_end - first);
                const auto report = [&](std::int64_t i, std::uint64_t* mask) {
                    if (rows < kBlockRows && !clip(mask, rows)) return;
                    if (!source.admit(first, mask)) return;
                    on_hits(base + who[i], first, mask);
                };
                if (queries.weighed()) {
                    for (const PlaneRun& run : queries.sel.runs()) {
                        const std::int64_t found = kernels.sel(block, codes.bytes, run, ahead, hits, who);
                        for (std::int64_t i = 0; i < found; ++i) report(i, hits[i].mask);
                    }
                    continue;
                }
                const std::int64_t words = kernels.tab_words;
                for (std::int64_t part = 0; part < kBlockWords; part += words) {
                    const TabQueries& tab = *queries.tab;
                    const std::int64_t found =
                        kernels.tab(block + part, codes.bytes, tab.data(), tab.size(), ahead, hits, who);
                    if (words == kBlockWords) {
                        for (std::int64_t i = 0; i < found; ++i) report(i, hits[i].mask);
                        continue;
                    }
                    PlaneHit whole{};
                    for (std::int64_t i = 0; i < found; ++i) {
                        std::copy_n(hits[i].mask, words, whole.mask + part);
                        report(i, whole.mask);
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
        scan_rows(source, queries, task, bounds, kernels, on_hits);
    } else {
        scan_planes(source, task, bounds, kernels, on_hits);
    }
}

}  // namespace dmth_fast::cpu
