// Rows are grouped by class once, so that the relevant rows of a query are one stretch: whole blocks are then
// counted either as relevant or as the rest, and only the two blocks at the ends of the stretch are counted
// twice.
#include "tally.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "cut.h"
#include "kernels.h"
#include "planes.h"
#include "queries.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

// Rows in the order of their class, stable, and where each class begins.
class ByClass {
  public:
    ByClass(const std::int64_t* classes, std::int64_t n) : order_(static_cast<std::size_t>(n)) {
        const auto [low, high] = std::minmax_element(classes, classes + n);
        least_ = *low;
        // Ids in a narrow range are counted; others, hashes perhaps, are sorted.
        const auto range = static_cast<std::uint64_t>(*high) - static_cast<std::uint64_t>(*low);
        if (range < static_cast<std::uint64_t>(4 * n + 1024)) {
            starts_.assign(static_cast<std::size_t>(range) + 2, 0);
            for (std::int64_t i = 0; i < n; ++i) ++starts_[static_cast<std::size_t>(classes[i] - least_) + 1];
            std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
            std::vector<std::int64_t> next(starts_.begin(), starts_.end() - 1);
            for (std::int64_t i = 0; i < n; ++i) {
                order_[static_cast<std::size_t>(next[static_cast<std::size_t>(classes[i] - least_)]++)] = i;
            }
            return;
        }
        std::iota(order_.begin(), order_.end(), 0);
        std::stable_sort(order_.begin(), order_.end(),
                         [&](std::int64_t a, std::int64_t b) { return classes[a] < classes[b]; });
        sorted_.reserve(order_.size());
        for (const std::int64_t i : order_) sorted_.push_back(classes[i]);
    }

    const std::vector<std::int64_t>& order() const { return order_; }

    std::pair<std::int64_t, std::int64_t> rows_of(std::int64_t id) const {
        if (starts_.empty()) {
            const auto [begin, end] = std::equal_range(sorted_.begin(), sorted_.end(), id);
            return {begin - sorted_.begin(), end - sorted_.begin()};
        }
        if (id < least_) return {0, 0};
        const auto index = static_cast<std::uint64_t>(id) - static_cast<std::uint64_t>(least_);
        if (index + 1 >= starts_.size()) return {0, 0};
        return {starts_[index], starts_[index + 1]};
    }

  private:
    std::vector<std::int64_t> order_;
    std::int64_t least_ = 0;
    std::vector<std::int64_t> starts_;
    std::vector<std::int64_t> sorted_;
};

// Bits [begin, end) of a block, clipped to it.
void stretch(std::int64_t begin, std::int64_t end, std::uint64_t* mask) {
    for (std::int64_t w = 0; w < kBlockWords; ++w) {
        const std::int64_t from = std::clamp<std::int64_t>(begin - w * 64, 0, 64);
        const std::int64_t to = std::clamp<std::int64_t>(end - w * 64, 0, 64);
        const auto below = [](std::int64_t i) {
            return i >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << i) - 1;
        };
        mask[w] = to > from ? below(to) & ~below(from) : 0;
    }
}

struct Line {
    alignas(64) std::uint64_t words[kBlockWords];
};

}  // namespace

bool tally_pays(Codes codes, Codes queries, Labels labels, const Call& call) {
    return call.kernels->tally != nullptr && labels.classes != nullptr && codes.rows > 0 &&
           queries.rows >= call.kernels->queries_to_transpose;
}

void tally_histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t bits,
                      std::int64_t* all, std::int64_t* relevant, const Call& call) {
    const ByClass grouped(code_labels.classes, codes.rows);
    std::vector<std::uint8_t> rows(static_cast<std::size_t>(codes.rows * codes.bytes));
    constexpr std::int64_t kCopyRows = 1 << 14;
    const auto copy = [&](std::int64_t index, int) {
        const std::int64_t end = std::min(codes.rows, (index + 1) * kCopyRows);
        for (std::int64_t i = index * kCopyRows; i < end; ++i) {
            std::memcpy(rows.data() + i * codes.bytes,
                        codes.row(grouped.order()[static_cast<std::size_t>(i)]),
                        static_cast<std::size_t>(codes.bytes));
        }
    };
    if (!parallel_for((codes.rows + kCopyRows - 1) / kCopyRows, call.threads, copy, call.interrupted)) return;

    const PlaneLayout layout(codes.bytes);
    const Codes sorted{rows.data(), codes.rows, codes.bytes};
    const Cut cut(codes.rows, queries.rows, call.threads, PlaneQueries::kMost);
    const auto bins = static_cast<std::size_t>(bits) + 1;
    const std::int64_t block_lines = layout.words() / kBlockWords;
    const std::int64_t chunk_blocks = std::max<std::int64_t>(1, kChunkBytes / (layout.words() * 8));
    std::mutex mutex;
    const auto count = [&](std::int64_t index, int) {
        const Cut::Task task = cut.task(index);
        const std::int64_t asked = task.query_end - task.query_begin;
        const PlaneQueries prepared({queries.row(task.query_begin), asked, queries.bytes}, layout);
        const auto planes =
            std::make_unique_for_overwrite<Line[]>(static_cast<std::size_t>(chunk_blocks * block_lines));
        const std::size_t values = std::size_t{2} << layout.levels;  // of A
        const auto lanes =
            std::make_unique<Line[]>(2 * values);  // the rest's counts, then the relevant rows'
        std::vector<std::int64_t> sums(2 * bins * static_cast<std::size_t>(asked), 0);
        for (std::int64_t chunk = task.row_begin; chunk < task.row_end; chunk += chunk_blocks * kBlockRows) {
            if (stopped()) return;
            const std::int64_t chunk_end = std::min(task.row_end, chunk + chunk_blocks * kBlockRows);
            for (std::int64_t first = chunk; first < chunk_end; first += kBlockRows) {
                call.kernels->transpose(
                    sorted.row(first), std::min(kBlockRows, chunk_end - first), codes.bytes,
                    planes[static_cast<std::size_t>((first - chunk) / kBlockRows * block_lines)].words);
            }
            for (std::int64_t q = 0; q < asked; ++q) {
                const PlaneQueries::Single one = prepared.single(q);
                const auto [begin, end] = grouped.rows_of(query_labels.classes[task.query_begin + q]);
                const int ends[2] = {-one.offset * one.sign,
                                     (static_cast<int>(bits) - one.offset) * one.sign};
                const int least = std::min(ends[0], ends[1]);
                const int most = std::max(ends[0], ends[1]);
                for (std::int64_t first = chunk; first < chunk_end; first += kBlockRows) {
                    const std::uint64_t* block =
                        planes[static_cast<std::size_t>((first - chunk) / kBlockRows * block_lines)].words;
                    const std::int64_t n = std::min(kBlockRows, chunk_end - first);
                    const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, n);
                    const std::int64_t to = std::clamp<std::int64_t>(end - first, from, n);
                    Line among;
                    if (to > from) {
                        stretch(from, to, among.words);
                        call.kernels->tally(block, codes.bytes, one.run, among.words, least, most,
                                            lanes[values].words);
                    }
                    if (to - from == n) continue;
                    Line inside;
                    stretch(from, to, inside.words);
                    stretch(0, n, among.words);
                    for (std::int64_t w = 0; w < kBlockWords; ++w) among.words[w] &= ~inside.words[w];
                    call.kernels->tally(block, codes.bytes, one.run, among.words, least, most,
                                        lanes[0].words);
                }
                std::int64_t* sum = sums.data() + 2 * bins * static_cast<std::size_t>(q);
                for (int a = std::max(0, least); a <= most; ++a) {
                    const auto d = static_cast<std::size_t>(one.offset + one.sign * a);
                    for (const std::size_t kind : {std::size_t{0}, std::size_t{1}}) {
                        Line& lane = lanes[kind * values + static_cast<std::size_t>(a)];
                        std::uint64_t total = 0;
                        for (std::uint64_t& word : lane.words) {
                            total += word;
                            word = 0;
                        }
                        sum[kind * bins + d] += static_cast<std::int64_t>(total);
                    }
                }
            }
        }
        const std::lock_guard lock(mutex);
        for (std::int64_t q = 0; q < asked; ++q) {
            const std::int64_t* sum = sums.data() + 2 * bins * static_cast<std::size_t>(q);
            std::int64_t* all_of = all + (task.query_begin + q) * static_cast<std::int64_t>(bins);
            std::int64_t* relevant_of = relevant + (task.query_begin + q) * static_cast<std::int64_t>(bins);
            for (std::size_t d = 0; d < bins; ++d) {
                all_of[d] += sum[d] + sum[bins + d];
                relevant_of[d] += sum[bins + d];
            }
        }
    };
    parallel_for(cut.tasks(), call.threads, count, call.interrupted);
}

}  // namespace dmth_fast::cpu
