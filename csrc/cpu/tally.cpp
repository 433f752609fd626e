// Bit planes are made once, a span of rows at a time, in the order that the relevance asks for; then groups
// of queries pass over chunks of blocks that stay in the L2 cache. A chunk is sliced for one query at a time
// and its slices, which stay in the L1 cache, are counted group of values by group of values.
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

constexpr std::int64_t kSpanBytes = 4 << 20;   // planes that exist at one time
constexpr std::int64_t kCountBytes = 1 << 20;  // counts that one group of queries keeps

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
}

// Counts of one query by the value A of kernel "sel", as kernel "tally" leaves them.
struct Slices {
    const Kernels& kernels;
    int levels;
    const std::uint64_t* data;

    // The group of values of one row.
    int group_of(std::int64_t block, std::int64_t row) const {
        const std::uint64_t* words = data + (block * levels * kBlockWords) + row / 64;
        int group = 0;
        for (int j = 3; j < levels; ++j) {
            group |= static_cast<int>(words[j * kBlockWords] >> (row % 64) & 1) << (j - 3);
        }
        return group;
    }

    // Counts `rows` rows of `count` blocks, outwards from the group of one of them: values that occur lie
    // together, in few groups.
    void count(std::int64_t count, std::int64_t rows, const std::int32_t* which, const Line* masks, int start,
               std::uint64_t* counts) const {
        const int groups = 1 << (levels - 3);
        const auto take = [&](int group) {
            group &= groups - 1;  // values are known modulo 2^levels
            const std::int64_t found =
                kernels.tally(data, count, levels, which, masks == nullptr ? nullptr : masks->words, group,
                              counts + 8 * group);
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

}  // namespace

void tally_rows(Codes codes, Codes queries, Relevance& relevance, int grades, std::int64_t bits,
                std::int64_t* all, std::int64_t* graded, std::int64_t step, const Call& call) {
    const Kernels& kernels = *call.kernels;
    const PlaneLayout layout(codes.bytes);
    const std::int64_t block_lines = layout.words() / kBlockWords;
    const std::int64_t span_blocks = std::max<std::int64_t>(1, kSpanBytes / (layout.words() * 8));
    const std::int64_t chunk_blocks = std::max<std::int64_t>(1, kChunkBytes / (layout.words() * 8));
    const int values = 1 << layout.levels;
    // Of a query: all rows but those of whole blocks, then each grade, then whole blocks.
    const int kinds = grades + 2;
    const std::size_t table = static_cast<std::size_t>(kinds) * static_cast<std::size_t>(values);
    const std::int64_t most = std::clamp<std::int64_t>(
        kCountBytes / static_cast<std::int64_t>(table * sizeof(std::uint64_t)), 4, PlaneQueries::kMost);
    // As many groups of queries for each thread.
    const std::int64_t rounds = (queries.rows + call.threads * most - 1) / (call.threads * most);
    const std::int64_t group = std::max<std::int64_t>(
        1, (queries.rows + rounds * call.threads - 1) / std::max<std::int64_t>(1, rounds * call.threads));

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
        if (!parallel_for(span_end - span, call.threads, turn, call.interrupted)) return;
        if (!relevance.prepare(span, span_end, call)) return;

        const std::int64_t span_rows = std::min(codes.rows, span_end * kBlockRows) - span * kBlockRows;
        const Cut cut(span_rows, queries.rows, call.threads, group);
        const auto count = [&](std::int64_t index, int) {
            const Cut::Task task = cut.task(index);
            const std::int64_t asked = task.query_end - task.query_begin;
            const PlaneQueries prepared({queries.row(task.query_begin), asked, queries.bytes}, layout);
            const std::int64_t first_block = span + task.row_begin / kBlockRows;
            const std::int64_t end_block = span + (task.row_end + kBlockRows - 1) / kBlockRows;
            const auto scratch = std::make_unique_for_overwrite<Line[]>(
                static_cast<std::size_t>(std::min(chunk_blocks, end_block - first_block) * layout.levels));
            const Slices slices{kernels, layout.levels, scratch[0].words};
            std::vector<std::uint64_t> tables(table * static_cast<std::size_t>(asked), 0);
            std::vector<Marked> marked(static_cast<std::size_t>(grades));
            for (std::int64_t chunk = first_block; chunk < end_block; chunk += chunk_blocks) {
                if (stopped()) return;
                const std::int64_t chunk_end = std::min(end_block, chunk + chunk_blocks);
                for (std::int64_t q = 0; q < asked; ++q) {
                    const PlaneQueries::Single one = prepared.single(q);
                    const std::int64_t query = task.query_begin + q;
                    std::uint64_t* of_query = tables.data() + table * static_cast<std::size_t>(q);
                    const auto whole = relevance.whole(query);
                    const std::int64_t from = std::clamp(whole.first, chunk, chunk_end);
                    const std::int64_t to = std::clamp(whole.second, from, chunk_end);
                    // Slices of the other blocks come first, then those of the whole ones.
                    std::int64_t done = 0;
                    const auto slice = [&](std::int64_t first, std::int64_t end) {
                        kernels.slice(planes[(first - span) * block_lines].words, end - first, codes.bytes,
                                      one.run, scratch[static_cast<std::size_t>(done * layout.levels)].words);
                        done += end - first;
                    };
                    if (from > chunk) slice(chunk, from);
                    if (chunk_end > to) slice(to, chunk_end);
                    const std::int64_t others = done;
                    if (to > from) slice(from, to);
                    if (others > 0) {
                        slices.count(others, others * kBlockRows, nullptr, nullptr,
                                     slices.group_of(others / 2, kBlockRows / 2), of_query);
                    }
                    if (to > from) {
                        const Slices inside{kernels, layout.levels,
                                            slices.data + others * layout.levels * kBlockWords};
                        inside.count(to - from, (to - from) * kBlockRows, nullptr, nullptr,
                                     inside.group_of((to - from) / 2, kBlockRows / 2),
                                     of_query + (kinds - 1) * values);
                    }
                    for (Marked& grade : marked) grade.clear();
                    relevance.mark(query, chunk, chunk_end, marked.data());
                    for (int grade = 0; grade < grades; ++grade) {
                        Marked& blocks_of = marked[static_cast<std::size_t>(grade)];
                        if (blocks_of.rows == 0) continue;
                        for (std::int32_t& block : blocks_of.which) {
                            if (chunk + block >= to) block -= static_cast<std::int32_t>(to - from);
                        }
                        std::int64_t word = 0;
                        while (blocks_of.masks[0].words[word] == 0) ++word;
                        const int row =
                            static_cast<int>(word) * 64 + std::countr_zero(blocks_of.masks[0].words[word]);
                        slices.count(static_cast<std::int64_t>(blocks_of.which.size()), blocks_of.rows,
                                     blocks_of.which.data(), blocks_of.masks.data(),
                                     slices.group_of(blocks_of.which[0], row),
                                     of_query + (grade + 1) * values);
                    }
                }
            }
            // Rows that the last block lacks were counted as zero codes.
            const std::int64_t missing =
                end_block * kBlockRows - std::min(codes.rows, end_block * kBlockRows);
            const std::lock_guard lock(mutex);
            for (std::int64_t q = 0; q < asked; ++q) {
                const PlaneQueries::Single one = prepared.single(q);
                std::uint64_t* of_query = tables.data() + table * static_cast<std::size_t>(q);
                const std::int64_t base = (task.query_begin + q) * (bits + 1);
                for (int kind = 0; kind < kinds; ++kind) separate(of_query + kind * values, values);
                std::int64_t ones = 0;
                for (std::int64_t b = 0; b < queries.bytes; ++b) {
                    ones += std::popcount(queries.row(task.query_begin + q)[b]);
                }
                all[(base + ones) * step] -= missing;
                for (std::int64_t d = 0; d <= bits; ++d) {
                    // d = offset + sign * A
                    const auto a = static_cast<std::size_t>((static_cast<int>(d) - one.offset) * one.sign &
                                                            (values - 1));
                    const auto at = [&](int kind) {
                        return static_cast<std::int64_t>(
                            of_query[static_cast<std::size_t>(kind * values) + a]);
                    };
                    const std::int64_t inside = at(kinds - 1);
                    all[(base + d) * step] += at(0) + inside;
                    std::int64_t* out = graded + (base + d) * step;
                    for (int grade = 1; grade <= grades; ++grade) out[grade - 1] += at(grade);
                    if (grades > 0) out[0] += inside;
                }
            }
        };
        if (!parallel_for(cut.tasks(), call.threads, count, call.interrupted)) return;
    }
}

}  // namespace dmth_fast::cpu
