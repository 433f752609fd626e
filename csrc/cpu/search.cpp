// Exact k nearest rows: a scan that keeps, for each query and slice of rows, the best k so far.
//
// The bound that a query starts from is guessed from a sample of rows, generously; should fewer than k rows
// lie within it, the query is scanned again without one. So the scan meets few rows that it must look at,
// whatever k.
#include "search.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <memory>
#include <vector>

#include "../retrieval.h"
#include "kernels.h"
#include "scan.h"
#include "selection.h"
#include "slab.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kGroupBytes = std::int64_t{64} << 20;  // of selected rows, at most, in one task

// Rows scanned for each row found, below which a query is better not cut into slices: each of them would find
// its own k. Measured with 100 queries and two threads, 1 M and 10 M codes of 32 to 128 bits.
constexpr std::int64_t kRowsOfFound = 10'000;

constexpr std::int64_t kLeastSample = 2 * kBlockRows;
constexpr std::int64_t kMostSample = 16 * kBlockRows;

// A sample of evenly spaced rows, of those that take part, and the bound that it suggests.
class Sample {
  public:
    Sample(const Source& source, std::int64_t k) : rows_(kLeastSample), bytes_(source.codes.bytes) {
        const std::int64_t all = source.taking_part();
        if (k >= 1000) rows_ = std::clamp(all / 16 / kBlockRows * kBlockRows, kLeastSample, kMostSample);
        if (all < 8 * rows_ || k > all / 2) {
            rows_ = 0;
            return;
        }
        const std::int64_t step = all / rows_;
        codes_.reserve(static_cast<std::size_t>(rows_ * bytes_));
        if (source.kept.bits != nullptr) {
            take_kept(source, step);
        } else {
            for (std::int64_t i = 0; i < rows_; ++i) take(source.codes, i * step);
        }
        const double expected =
            static_cast<double>(k) * static_cast<double>(rows_) / static_cast<double>(all);
        enough_ = static_cast<std::int64_t>(expected + 4 * std::sqrt(expected) + 2);
    }

    std::int32_t bound(const std::uint8_t* query, const Kernels& kernels) const {
        const auto bits = static_cast<std::int32_t>(bytes_ * 8);
        if (rows_ == 0) return bits;
        std::vector<std::int32_t> counts(static_cast<std::size_t>(bits) + 1, 0);
        std::int32_t distances[kBlockRows];
        for (std::int64_t at = 0; at < rows_; at += kBlockRows) {
            const std::int64_t count = std::min(kBlockRows, rows_ - at);
            kernels.distances(codes_.data() + at * bytes_, count, bytes_, query, distances);
            for (std::int64_t i = 0; i < count; ++i) ++counts[static_cast<std::size_t>(distances[i])];
        }
        std::int64_t count = 0;
        for (std::int32_t d = 0; d < bits; ++d) {
            count += counts[static_cast<std::size_t>(d)];
            if (count >= enough_) return d;
        }
        return bits;
    }

  private:
    void take(Codes codes, std::int64_t row) {
        codes_.insert(codes_.end(), codes.row(row), codes.row(row) + bytes_);
    }

    // Every step-th of the rows that take part, wherever they lie; words are passed over by their counts.
    void take_kept(const Source& source, std::int64_t step) {
        std::int64_t next = 0;    // to be taken, counted among those that take part
        std::int64_t before = 0;  // that take part, before the lowest of `bits`
        for (std::int64_t word = 0, taken = 0; taken < rows_; ++word) {
            std::uint64_t bits = source.kept.bits[word];
            const std::int64_t behind = before + std::popcount(bits);
            for (; next < behind && taken < rows_; next += step, ++taken) {
                for (; before < next; ++before) bits &= bits - 1;
                take(source.codes, 64 * word + std::countr_zero(bits));
            }
            before = behind;
        }
    }

    std::int64_t rows_;
    std::int64_t bytes_;
    std::int64_t enough_ = 0;
    std::vector<std::uint8_t> codes_;
};

}  // namespace

void search_source(const Source& source, Codes queries, std::int64_t k, std::int32_t* distances,
                   std::int64_t* ids, bool sampled, const Call& call) {
    const Codes& codes = source.codes;
    const Kernels& kernels = *call.kernels;
    const std::int64_t bits = codes.bytes * 8;
    const std::int64_t most = std::clamp<std::int64_t>(kGroupBytes / (12 * k), 32, 1024);
    const bool share = source.blocks != nullptr && source.taking_part() / k <= kRowsOfFound;
    const Cut cut(codes.rows, queries.rows, call.threads, most, share, k);
    const std::int64_t slices = cut.slices();
    const PlaneLayout layout(codes.bytes);
    const Sample sample(source, sampled ? k : source.taking_part());
    struct Found {
        Slab memory;
        std::vector<Selector> selectors;
    };
    std::vector<Found> found(static_cast<std::size_t>(cut.tasks()));
    std::vector<std::atomic<std::int32_t>> shared(
        static_cast<std::size_t>(queries.rows));  // bounds of all slices
    for (auto& bound : shared) bound.store(-1, std::memory_order_relaxed);

    const auto scan_task = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        const std::int64_t count = task.query_end - task.query_begin;
        Bounds bounds(queries, task.query_begin, task.query_end, layout, kernels,
                      planes_pay(source, count, kernels));
        auto& [memory, selectors] = found[static_cast<std::size_t>(index)];
        selectors.reserve(static_cast<std::size_t>(count));
        const std::int64_t rows = task.row_end - task.row_begin;
        const std::size_t bytes = Selector::memory_for(k, bits, rows);
        memory = Slab(bytes * static_cast<std::size_t>(count));
        for (std::int64_t q = 0; q < count; ++q) {
            auto& known = shared[static_cast<std::size_t>(task.query_begin + q)];
            std::int32_t bound = known.load(std::memory_order_relaxed);
            if (bound < 0) {
                bound = sample.bound(queries.row(task.query_begin + q), kernels);
                known.store(bound, std::memory_order_relaxed);
            }
            selectors.emplace_back(k, bits, bound, task.row_begin, rows,
                                   memory.at<std::byte>(bytes * static_cast<std::size_t>(q)));
            bounds.set(q, bound);
        }
        scan(source, queries, task, bounds, kernels,
             [&](std::int64_t q, std::int64_t block, const std::uint64_t* mask) {
                 Selector& selector = selectors[static_cast<std::size_t>(q)];
                 if (selector.push(mask, block, codes, queries.row(task.query_begin + q), kernels)) {
                     bounds.set(q, selector.bound());
                 }
             });
        for (std::int64_t q = 0; q < count; ++q) {
            Selector& selector = selectors[static_cast<std::size_t>(q)];
            selector.settle(codes, queries.row(task.query_begin + q), kernels);
            // Rows of another slice may tie with this slice's k-th: its limit, not its bound, holds for them.
            auto& known = shared[static_cast<std::size_t>(task.query_begin + q)];
            std::int32_t bound = known.load(std::memory_order_relaxed);
            while (selector.limit() < bound &&
                   !known.compare_exchange_weak(bound, selector.limit(), std::memory_order_relaxed)) {
            }
        }
    };
    if (!parallel_for(cut.tasks(), call.threads, scan_task, call.interrupted)) return;

    std::vector<std::uint8_t> short_of(static_cast<std::size_t>(queries.rows), 0);
    const auto merge = [&](std::int64_t q, int) {
        const std::int64_t group = q / cut.group;
        std::vector<const Selector*> parts;
        for (std::int64_t s = 0; s < slices; ++s) {
            parts.push_back(&found[static_cast<std::size_t>(group * slices + s)]
                                 .selectors[static_cast<std::size_t>(q % cut.group)]);
        }
        short_of[static_cast<std::size_t>(q)] =
            Selector::merge(parts, k, bits, distances + q * k, ids + q * k) < k ? 1 : 0;
    };
    if (!parallel_for(queries.rows, call.threads, merge, call.interrupted)) return;
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        if (short_of[static_cast<std::size_t>(q)] == 0) continue;
        search_source(source, {queries.row(q), 1, queries.bytes}, k, distances + q * k, ids + q * k, false,
                      call);
    }
}

void search(Codes codes, Codes queries, std::int64_t k, std::int32_t* distances, std::int64_t* ids,
            const Kept& kept, const Call& call) {
    search_source({.codes = codes, .kept = kept}, queries, k, distances, ids, true, call);
}

}  // namespace dmth_fast::cpu
