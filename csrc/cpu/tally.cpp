// Bit planes are made once, a span of rows at a time, in the order that the relevance asks for; then groups
// of queries pass over chunks of blocks that stay in the L2 cache. A batch of queries, run by run of those
// that read equally many planes, slices each block of a chunk while it is in the L1 cache; then the slices of
// each query are counted, group of values by group.
#include "tally.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

#include "cut.h"
#include "kernels.h"
#include "planes.h"
#include "queries.h"
#include "slab.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kSpanBytes = 16 << 20;  // planes that exist at one time
constexpr std::int64_t kChunkBlocks = 31;      // additions that kernel "tally" takes between two sums
constexpr std::int64_t kPlaneBytes = 1 << 20;  // planes of a chunk; each is read once for a batch of queries
constexpr std::int64_t kSliceBytes = 512 << 10;  // slices of a batch of queries and a chunk of planes
constexpr std::int64_t kSparse = 3;              // blocks for each row that is left, for kernel "tally"
constexpr std::int64_t kCountBytes = 1 << 20;    // counts that one group of queries keeps

// Planes of the rows at places [first, first + n), n at most a block.
void make_block(Codes codes, const std::int64_t* order, std::int64_t first, std::int64_t n,
                const Kernels& kernels, std::vector<std::uint8_t>& gathered, std::uint64_t* block) {
    const std::uint8_t* rows = codes.row(first);
    if (order != nullptr) {
        const auto bytes = static_cast<std::size_t>(codes.bytes);
        gathered.resize(static_cast<std::size_t>(kBlockRows) * bytes);
        const auto gather = [&](const auto width) {
            for (std::int64_t i = 0; i < n; ++i) {
                std::memcpy(gathered.data() + i * width, codes.row(order[first + i]),
                            static_cast<std::size_t>(width));
            }
        };
        if (codes.bytes == 8) {
            gather(std::integral_constant<std::int64_t, 8>());
        } else {
            gather(codes.bytes);
        }
        rows = gathered.data();
    }
    kernels.transpose(rows, n, codes.bytes, block);
    kernels.weigh(codes.bytes, block);
}

// Slices of one query, and their counts as kernel "tally" leaves them.
struct Slices {
    const Kernels& kernels;
    int levels;
    const std::uint64_t* data;

    // The group of values of one row.
    int value_group(std::int64_t block, std::int64_t row) const {
        const std::uint64_t* words = data + (block * levels * kBlockWords) + row / 64;
        int group = 0;
        for (int j = 3; j < levels; ++j) {
            group |= static_cast<int>(words[j * kBlockWords] >> (row % 64) & 1) << (j - 3);
        }
        return group;
    }

    // Counts all rows of `blocks` blocks.
    void count(std::int64_t blocks, std::uint64_t* counts) const {
        count(blocks, blocks * kBlockRows, nullptr, nullptr, value_group(blocks / 2, kBlockRows / 2), counts);
    }

    // Counts the rows of some masks.
    void count(const Marked& marked, std::uint64_t* counts) const {
        std::int64_t word = 0;
        while (marked.masks[0].words[word] == 0) ++word;
        const std::int64_t row = word * 64 + std::countr_zero(marked.masks[0].words[word]);
        count(static_cast<std::int64_t>(marked.which.size()), marked.rows, marked.which.data(),
              marked.masks.data(), value_group(marked.which[0], row), counts);
    }

    // Outwards from the group of one of the rows: values that occur lie together, in few groups.
    void count(std::int64_t blocks, std::int64_t rows, const std::int32_t* which, const Line* masks,
               int start, std::uint64_t* counts) const {
        const int groups = 1 << (levels - 3);
        const auto take = [&](int group) {
            group &= groups - 1;  // values are known modulo 2^levels
            const std::int64_t found =
                kernels.tally(data, blocks, levels, which, masks == nullptr ? nullptr : masks->words, group,
                              kSparse * rows < blocks, counts + 8 * group);
            rows -= found;
            return found;
        };
        int low = start;
        int high = start;
        std::int64_t at_low = take(start);
        std::int64_t at_high = at_low;
        while (rows > 0 && high - low + 1 < groups) {
            if (at_low > at_high) {
                at_low = take(--low);
            } else {
                at_high = take(++high);
            }
        }
    }
};

// From counts of the rows with (A & s) = s in each group to counts of single values.
void separate(std::uint64_t* counts, int values) {
    for (int group = 0; group < values; group += 8) {
        if (counts[group] == 0) continue;
        for (int bit = 1; bit < 8; bit *= 2) {
            for (int v = 0; v < 8; ++v) {
                if ((v & bit) == 0) counts[group + v] -= counts[group + v + bit];
            }
        }
    }
}

// One group of queries against a stretch of blocks.
class GroupTally {
  public:
    GroupTally(Codes queries, std::int64_t first_query, std::int64_t asked, const Line* planes,
               std::int64_t span, const Relevance& relevance, int grades, const PlaneLayout& layout,
               const Kernels& kernels)
        : first_query_(first_query),
          asked_(asked),
          planes_(planes),
          span_(span),
          relevance_(relevance),
          grades_(grades),
          layout_(layout),
          kernels_(kernels),
          queries_({queries.row(first_query), asked, queries.bytes}),
          prepared_(queries_, layout),
          chunk_blocks_(std::clamp<std::int64_t>(kPlaneBytes / (layout.words() * 8), 1, kChunkBlocks)),
          batch_(std::clamp<std::int64_t>(kSliceBytes / (chunk_blocks_ * slice_lines() * 64), 1, asked)),
          values_(1 << layout.levels),
          kinds_(grades + 2),
          counts_(static_cast<std::size_t>(asked * kinds_ * values_), 0),
          marked_(static_cast<std::size_t>(grades)),
          slab_(static_cast<std::size_t>(batch_ * chunk_blocks_ * slice_lines()) * sizeof(Line)),
          into_(static_cast<std::size_t>(batch_)) {
        for (PlaneRun run : prepared_.runs()) {
            while (run.count > 0) {
                if (batches_.empty() || batches_.back().asked == batch_) batches_.emplace_back();
                Batch& batch = batches_.back();
                PlaneRun part = run;
                part.count = static_cast<int>(std::min<std::int64_t>(run.count, batch_ - batch.asked));
                batch.asked += part.count;
                batch.runs.push_back(part);
                run.count -= part.count;
                run.offsets += part.count * run.planes;
                run.constants += part.count * PlaneRun::kConstants;
            }
        }
    }

    // Counts the blocks [first, end).
    void count(std::int64_t first, std::int64_t end) {
        for (std::int64_t chunk = first; chunk < end; chunk += chunk_blocks_) {
            const std::int64_t chunk_end = std::min(end, chunk + chunk_blocks_);
            for (const Batch& batch : batches_) {
                if (stopped()) return;
                orders_.clear();
                for (const PlaneRun& run : batch.runs) {
                    for (int i = 0; i < run.count; ++i) {
                        orders_.push_back(order(run.constants[i * PlaneRun::kConstants + PlaneRun::kQuery],
                                                chunk, chunk_end));
                    }
                }
                begin_chunk();
                for (std::int64_t block = chunk; block < chunk_end; ++block) slice(batch, block, chunk_end);
                for (std::int64_t i = 0; i < batch.asked; ++i) count_query(i, chunk, chunk_end);
            }
        }
    }

    // Adds what was counted to the results; `missing` rows of the last block were counted as zero codes.
    void add(std::int64_t bits, std::int64_t missing, std::int64_t* all, std::int64_t* graded,
             std::int64_t step) {
        for (std::int64_t q = 0; q < asked_; ++q) {
            const PlaneQueries::Value one = prepared_.value(q);
            const std::int64_t base = (first_query_ + q) * (bits + 1);
            for (int kind = 0; kind < kinds_; ++kind) separate(counts_of(q, kind), values_);
            std::int64_t ones = 0;
            for (std::int64_t b = 0; b < queries_.bytes; ++b) ones += std::popcount(queries_.row(q)[b]);
            all[(base + ones) * step] -= missing;
            for (std::int64_t d = 0; d <= bits; ++d) {
                const int a =
                    (static_cast<int>(d) - one.offset) * one.sign & (values_ - 1);  // d = offset + sign * A
                const auto at = [&](int kind) { return static_cast<std::int64_t>(counts_of(q, kind)[a]); };
                const std::int64_t inside = at(kinds_ - 1);
                all[(base + d) * step] += at(0) + inside;
                std::int64_t* out = graded + (base + d) * step;
                for (int grade = 1; grade <= grades_; ++grade) out[grade - 1] += at(grade);
                if (grades_ > 0) out[0] += inside;
            }
        }
    }

  private:
    // Queries whose slices exist at one time.
    struct Batch {
        std::vector<PlaneRun> runs;
        std::int64_t asked = 0;
    };

    // The blocks of a chunk in the order of a query's slices: those that hold only relevant rows come last.
    struct Order {
        std::int64_t query, chunk, from, to, others;

        std::int64_t place(std::int64_t block) const {
            if (block < from) return block - chunk;
            return block < to ? others + block - from : block - chunk - (to - from);
        }
    };

    Order order(std::int64_t q, std::int64_t chunk, std::int64_t chunk_end) const {
        const auto whole = relevance_.whole(first_query_ + q);
        const std::int64_t from = std::clamp(whole.first, chunk, chunk_end);
        const std::int64_t to = std::clamp(whole.second, from, chunk_end);
        return {q, chunk, from, to, chunk_end - chunk - (to - from)};
    }

    std::int64_t slice_lines() const { return layout_.levels; }
    // All rows but those of whole blocks; then each grade; then whole blocks.
    std::uint64_t* counts_of(std::int64_t q, int kind) {
        return counts_.data() + (q * kinds_ + kind) * values_;
    }
    Line* slices_of(std::int64_t slot) const {
        return slab_.at<Line>(0) + slot * chunk_blocks_ * slice_lines();
    }

    // Where each query's slices of the first block of a chunk go; and the queries that jump from place to
    // place.
    void begin_chunk() {
        jumping_.clear();
        for (std::size_t i = 0; i < orders_.size(); ++i) {
            const Order& order_of = orders_[i];
            into_[i] = slices_of(static_cast<std::int64_t>(i))->words;
            if (order_of.from < order_of.to) jumping_.push_back(i);
        }
    }

    void slice(const Batch& batch, std::int64_t block, std::int64_t end) {
        for (const std::size_t i : jumping_) {
            const std::int64_t place = orders_[i].place(block) * slice_lines();
            into_[i] = slices_of(static_cast<std::int64_t>(i))[place].words;
        }
        const std::int64_t lines = layout_.words() / kBlockWords;
        const std::uint64_t* planes = planes_[(block - span_) * lines].words;
        Ahead ahead{nullptr, nullptr, (lines + batch.asked - 1) / batch.asked * kBlockWords};
        if (block + 1 < end) {
            ahead.next = planes + layout_.words();
            ahead.end = ahead.next + layout_.words();
        }
        std::uint64_t* const* into = into_.data();
        for (const PlaneRun& run : batch.runs) {
            kernels_.slice(planes, layout_.bytes, run, ahead, into);
            into += run.count;
        }
        const std::int64_t step = slice_lines() * kBlockWords;
        for (std::int64_t i = 0; i < batch.asked; ++i) into_[static_cast<std::size_t>(i)] += step;
    }

    void count_query(std::int64_t slot, std::int64_t chunk, std::int64_t chunk_end) {
        const Order& order_of = orders_[static_cast<std::size_t>(slot)];
        const std::int64_t q = order_of.query;
        const std::int64_t whole = order_of.to - order_of.from;
        const Slices slices{kernels_, layout_.levels, slices_of(slot)->words};
        if (order_of.others > 0) slices.count(order_of.others, counts_of(q, 0));
        if (whole > 0) {
            const Slices inside{kernels_, layout_.levels,
                                slices_of(slot)[order_of.others * slice_lines()].words};
            inside.count(whole, counts_of(q, kinds_ - 1));
        }
        for (Marked& grade : marked_) grade.clear();
        relevance_.mark(first_query_ + q, chunk, chunk_end, marked_.data());
        for (int grade = 0; grade < grades_; ++grade) {
            Marked& blocks = marked_[static_cast<std::size_t>(grade)];
            for (std::int32_t& block : blocks.which) {
                block = static_cast<std::int32_t>(order_of.place(chunk + block));
            }
            if (blocks.rows > 0) slices.count(blocks, counts_of(q, grade + 1));
        }
    }

    std::int64_t first_query_;
    std::int64_t asked_;
    const Line* planes_;
    std::int64_t span_;
    const Relevance& relevance_;
    int grades_;
    PlaneLayout layout_;
    const Kernels& kernels_;
    Codes queries_;
    PlaneQueries prepared_;
    std::int64_t chunk_blocks_;
    std::int64_t batch_;
    int values_;
    int kinds_;
    std::vector<std::uint64_t> counts_;
    std::vector<Marked> marked_;
    std::vector<Batch> batches_;
    std::vector<Order> orders_;  // of the batch at work
    Slab slab_;
    std::vector<std::uint64_t*> into_;  // where a block's slices of each query go
    std::vector<std::size_t> jumping_;  // those that are not one after another
};

// Queries of a group: as many groups for each thread, and their counts stay in the cache.
std::int64_t group_of(std::int64_t queries, int threads, int grades, const PlaneLayout& layout) {
    const std::int64_t bytes = (grades + 2) * (std::int64_t{8} << layout.levels);
    const std::int64_t most = std::clamp<std::int64_t>(kCountBytes / bytes, 4, PlaneQueries::kMost);
    const std::int64_t groups = (queries + threads * most - 1) / (threads * most) * threads;
    return std::max<std::int64_t>(1, (queries + groups - 1) / std::max<std::int64_t>(1, groups));
}

}  // namespace

bool tally_rows(Codes codes, Codes queries, Relevance& relevance, int grades, std::int64_t bits,
                std::int64_t* all, std::int64_t* graded, std::int64_t step, const Call& call) {
    const Kernels& kernels = *call.kernels;
    const PlaneLayout layout(codes.bytes);
    const std::int64_t block_lines = layout.words() / kBlockWords;
    const std::int64_t span_blocks = std::max<std::int64_t>(1, kSpanBytes / (layout.words() * 8));
    const std::int64_t group = group_of(queries.rows, call.threads, grades, layout);
    const std::int64_t blocks = (codes.rows + kBlockRows - 1) / kBlockRows;
    const Slab slab(static_cast<std::size_t>(std::min(blocks, span_blocks) * block_lines) * sizeof(Line));
    Line* const planes = slab.at<Line>(0);
    std::mutex mutex;
    for (std::int64_t span = 0; span < blocks; span += span_blocks) {
        const std::int64_t span_end = std::min(blocks, span + span_blocks);
        const auto turn = [&](std::int64_t index, int) {
            std::vector<std::uint8_t> gathered;
            const std::int64_t first = (span + index) * kBlockRows;
            make_block(codes, relevance.order(), first, std::min(kBlockRows, codes.rows - first), kernels,
                       gathered, planes[index * block_lines].words);
        };
        if (!parallel_for(span_end - span, call.threads, turn, call.interrupted)) return false;
        if (!relevance.prepare(span, span_end, call)) return false;

        const std::int64_t span_rows = std::min(codes.rows, span_end * kBlockRows) - span * kBlockRows;
        const Cut cut(span_rows, queries.rows, call.threads, group);
        const auto count = [&](std::int64_t index, int) {
            const Cut::Task task = cut.task(index);
            const std::int64_t first = span + task.row_begin / kBlockRows;
            const std::int64_t end = span + (task.row_end + kBlockRows - 1) / kBlockRows;
            GroupTally tally(queries, task.query_begin, task.query_end - task.query_begin, planes, span,
                             relevance, grades, layout, kernels);
            tally.count(first, end);
            const std::int64_t missing = end * kBlockRows - std::min(codes.rows, end * kBlockRows);
            const std::lock_guard lock(mutex);
            tally.add(bits, missing, all, graded, step);
        };
        if (!parallel_for(cut.tasks(), call.threads, count, call.interrupted)) return false;
    }
    return true;
}

}  // namespace dmth_fast::cpu
