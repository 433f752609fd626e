#include "relevance.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr PlaneLayout kColumn(8);  // 64 labels
constexpr std::int64_t kColumnLines = kColumn.words() / kBlockWords;
// Queries that pay for grouping rows. Measured with 200,000 codes of 64 bits, 10 classes.
constexpr std::int64_t kQueriesToGroup = 64;
constexpr int kMostSlices = 13;  // of counts up to kMostGrades

// Bits [begin, end) of a block, clipped to it.
void stretch(std::int64_t begin, std::int64_t end, Line& mask) {
    for (std::int64_t w = 0; w < kBlockWords; ++w) {
        const std::int64_t from = std::clamp<std::int64_t>(begin - w * 64, 0, 64);
        const std::int64_t to = std::clamp<std::int64_t>(end - w * 64, 0, 64);
        const auto below = [](std::int64_t i) {
            return i >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << i) - 1;
        };
        mask.words[w] = to > from ? below(to) & ~below(from) : 0;
    }
}

}  // namespace

void Marked::add(std::int32_t block, const Line& mask) {
    int count = 0;
    for (const std::uint64_t word : mask.words) count += std::popcount(word);
    if (count == 0) return;
    which.push_back(block);
    masks.push_back(mask);
    rows += count;
}

ByClass::ByClass(const std::int64_t* classes, std::int64_t n, const std::int64_t* asked)
    : asked_(asked), order_(static_cast<std::size_t>(n)) {
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

std::pair<std::int64_t, std::int64_t> ByClass::places_of(std::int64_t id) const {
    if (starts_.empty()) {
        const auto [begin, end] = std::equal_range(sorted_.begin(), sorted_.end(), id);
        return {begin - sorted_.begin(), end - sorted_.begin()};
    }
    if (id < least_) return {0, 0};
    const auto index = static_cast<std::uint64_t>(id) - static_cast<std::uint64_t>(least_);
    if (index + 1 >= starts_.size()) return {0, 0};
    return {starts_[index], starts_[index + 1]};
}

std::pair<std::int64_t, std::int64_t> ByClass::whole(std::int64_t query) const {
    const auto [begin, end] = places_of(asked_[query]);
    const std::int64_t first = (begin + kBlockRows - 1) / kBlockRows;
    return {first, std::max(first, end / kBlockRows)};
}

void ByClass::mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const {
    const auto [from, to] = places_of(asked_[query]);
    if (from == to) return;
    const std::int64_t ends[2] = {from / kBlockRows, (to - 1) / kBlockRows};
    const auto inner = whole(query);
    for (int i = 0; i < 1 + (ends[0] != ends[1]); ++i) {
        const std::int64_t block = ends[i];
        if (block < first || block >= end || (block >= inner.first && block < inner.second)) continue;
        Line mask;
        stretch(from - block * kBlockRows, to - block * kBlockRows, mask);
        marked->add(static_cast<std::int32_t>(block - first), mask);
    }
}

ByClassBits::ByClassBits(const std::int64_t* classes, std::int64_t rows, const std::int64_t* asked)
    : classes_(classes), rows_(rows), asked_(asked), base_(static_cast<std::uint64_t>(classes[0])) {
    for (std::int64_t i = 0; i < rows; ++i) varying_ |= static_cast<std::uint64_t>(classes[i]) ^ base_;
    while (bytes_ < 8 && varying_ >> (8 * bytes_) != 0) ++bytes_;
}

bool ByClassBits::prepare(std::int64_t first, std::int64_t end, const Call& call) {
    first_ = first;
    const PlaneLayout layout(bytes_);
    const std::int64_t lines = layout.words() / kBlockWords;
    planes_.resize(static_cast<std::size_t>((end - first) * lines));
    const auto turn = [&](std::int64_t index, int) {
        const std::int64_t row = (first + index) * kBlockRows;
        const std::int64_t n = std::min(kBlockRows, rows_ - row);
        std::uint8_t column[kBlockRows * 8];
        for (std::int64_t i = 0; i < n; ++i) {
            const std::uint64_t differ = static_cast<std::uint64_t>(classes_[row + i]) ^ base_;
            for (std::int64_t b = 0; b < bytes_; ++b) {
                column[i * bytes_ + b] = static_cast<std::uint8_t>(differ >> (8 * b));
            }
        }
        call.kernels->transpose(column, n, bytes_, planes_[static_cast<std::size_t>(index * lines)].words);
    };
    return parallel_for(end - first, call.threads, turn, call.interrupted);
}

void ByClassBits::mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const {
    const std::uint64_t differ = static_cast<std::uint64_t>(asked_[query]) ^ base_;
    if ((differ & ~varying_) != 0) return;
    const std::int64_t lines = PlaneLayout(bytes_).words() / kBlockWords;
    for (std::int64_t block = first; block < end; ++block) {
        const Line* planes = planes_.data() + (block - first_) * lines;
        Line mask;
        stretch(0, rows_ - block * kBlockRows, mask);
        for (std::uint64_t left = varying_; left != 0; left &= left - 1) {
            const int bit = std::countr_zero(left);
            const std::uint64_t flip =
                (differ >> bit & 1) - 1;  // rows without the bit, where it is not asked
            for (std::int64_t w = 0; w < kBlockWords; ++w) mask.words[w] &= planes[bit].words[w] ^ flip;
        }
        marked->add(static_cast<std::int32_t>(block - first), mask);
    }
}

BySharedLabels::BySharedLabels(Labels rows, std::int64_t count, Labels queries, std::int64_t asked,
                               int grades)
    : rows_(rows), count_(count), grades_(grades), block_lines_(rows.words * kColumnLines) {
    starts_.push_back(0);
    for (std::int64_t q = 0; q < asked; ++q) {
        for (std::int64_t w = 0; w < rows.words; ++w) {
            for (std::uint64_t left = queries.masks[q * rows.words + w]; left != 0; left &= left - 1) {
                planes_of_.push_back(static_cast<std::uint32_t>(w * kColumnLines + std::countr_zero(left)));
            }
        }
        starts_.push_back(planes_of_.size());
    }
}

bool BySharedLabels::prepare(std::int64_t first, std::int64_t end, const Call& call) {
    first_ = first;
    planes_.resize(static_cast<std::size_t>((end - first) * block_lines_));
    const auto turn = [&](std::int64_t index, int) {
        const std::int64_t row = (first + index) * kBlockRows;
        const std::int64_t n = std::min(kBlockRows, count_ - row);
        std::uint64_t column[kBlockRows];
        for (std::int64_t w = 0; w < rows_.words; ++w) {
            for (std::int64_t i = 0; i < n; ++i) column[i] = rows_.masks[(row + i) * rows_.words + w];
            call.kernels->transpose(
                reinterpret_cast<const std::uint8_t*>(column), n, 8,
                planes_[static_cast<std::size_t>(index * block_lines_ + w * kColumnLines)].words);
        }
    };
    return parallel_for(end - first, call.threads, turn, call.interrupted);
}

void BySharedLabels::mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const {
    const std::uint32_t* labels = planes_of_.data() + starts_[static_cast<std::size_t>(query)];
    const std::size_t count =
        starts_[static_cast<std::size_t>(query) + 1] - starts_[static_cast<std::size_t>(query)];
    for (std::int64_t block = first; block < end; ++block) {
        const Line* planes = planes_.data() + (block - first_) * block_lines_;
        const auto place = static_cast<std::int32_t>(block - first);
        if (grades_ == 1) {
            Line any{};
            for (std::size_t i = 0; i < count; ++i) {
                for (std::int64_t w = 0; w < kBlockWords; ++w) any.words[w] |= planes[labels[i]].words[w];
            }
            marked->add(place, any);
            continue;
        }
        // Bit slices of the number of shared labels; what goes beyond the last is kept as `over`.
        const int slices = std::bit_width(static_cast<unsigned>(grades_));
        Line sums[kMostSlices] = {};
        Line over{};
        for (std::size_t i = 0; i < count; ++i) {
            Line carry = planes[labels[i]];
            for (int j = 0; j < slices; ++j) {
                for (std::int64_t w = 0; w < kBlockWords; ++w) {
                    const std::uint64_t next = sums[j].words[w] & carry.words[w];
                    sums[j].words[w] ^= carry.words[w];
                    carry.words[w] = next;
                }
            }
            for (std::int64_t w = 0; w < kBlockWords; ++w) over.words[w] |= carry.words[w];
        }
        Line rest = over;  // rows of the last grade: everything of at least `grades_`
        const int most = static_cast<int>(std::min<std::size_t>(count, (1u << slices) - 1));
        for (int value = most; value >= 1; --value) {
            Line rows;
            for (std::int64_t w = 0; w < kBlockWords; ++w) {
                std::uint64_t equal = ~over.words[w];
                for (int j = 0; j < slices; ++j) {
                    equal &= (value >> j & 1) != 0 ? sums[j].words[w] : ~sums[j].words[w];
                }
                rows.words[w] = equal;
                if (value >= grades_) rest.words[w] |= equal;
            }
            if (value < grades_) marked[value - 1].add(place, rows);
            if (value == grades_) marked[value - 1].add(place, rest);
        }
    }
}

std::unique_ptr<Relevance> relevance_of(Labels rows, std::int64_t count, Labels queries, std::int64_t asked,
                                        int grades) {
    if (rows.classes != nullptr && asked >= kQueriesToGroup) {
        return std::make_unique<ByClass>(rows.classes, count, queries.classes);
    }
    if (rows.classes != nullptr) return std::make_unique<ByClassBits>(rows.classes, count, queries.classes);
    return std::make_unique<BySharedLabels>(rows, count, queries, asked, grades);
}

}  // namespace dmth_fast::cpu
