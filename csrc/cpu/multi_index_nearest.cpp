#include "multi_index_nearest.h"

#include <algorithm>
#include <limits>

namespace dmth_fast::cpu {

template <class Row>
void Nearest<Row>::reset(std::int64_t k) {
    k_ = k;
    within_ = 0;
    bound_ = static_cast<std::int32_t>(bits_);
    furthest_ = 0;
    std::fill(counts_.begin(), counts_.end(), 0);
    codes_.clear();
}

template <class Row>
void Nearest<Row>::add(std::int32_t distance, Row first, std::int64_t group) {
    if (distance > bound_) return;
    const std::int64_t rows = group < 0 ? 1 : groups_.size(group);
    codes_.push_back({distance, first, group});
    counts_[static_cast<std::size_t>(distance)] += rows;
    furthest_ = std::max(furthest_, distance);
    within_ += rows;
    while (within_ - counts_[static_cast<std::size_t>(bound_)] >= k_) {
        within_ -= counts_[static_cast<std::size_t>(bound_)];
        --bound_;
    }
    if (static_cast<std::int64_t>(codes_.size()) > 4 * k_ + 256) compact();
}

template <class Row>
void Nearest<Row>::compact() {
    std::erase_if(codes_, [this](const Code& code) { return code.distance > bound_; });
    if (static_cast<std::int64_t>(codes_.size()) <= k_) return;
    std::nth_element(codes_.begin(), codes_.begin() + k_ - 1, codes_.end());
    codes_.resize(static_cast<std::size_t>(k_));
}

template <class Row>
std::int64_t Nearest<Row>::lowest(const Code* begin, const Code* end, std::int64_t wanted,
                                  std::int64_t* ids) {
    const auto most = static_cast<std::size_t>(wanted);
    Row limit = std::numeric_limits<Row>::max();
    rows_.clear();
    const auto shrink = [&] {
        std::nth_element(rows_.begin(), rows_.begin() + wanted - 1, rows_.end());
        rows_.resize(most);
        limit = rows_.back();
    };
    for (const Code* code = begin; code != end && code->first < limit; ++code) {
        if (code->group < 0) {
            rows_.push_back(code->first);
        } else {
            const std::span<const Row> every = groups_.rows(code->group);
            for (const Row row : every.first(std::min(every.size(), most))) {
                if (row >= limit) break;
                rows_.push_back(row);
            }
        }
        if (rows_.size() > 2 * most + 32) shrink();
    }
    if (rows_.size() > most) shrink();
    std::sort(rows_.begin(), rows_.end());
    std::copy(rows_.begin(), rows_.end(), ids);
    return static_cast<std::int64_t>(rows_.size());
}

template <class Row>
void Nearest<Row>::finish(std::int32_t* distances, std::int64_t* ids) {
    // The nearest k codes hold the nearest k rows; few of those at the bound are among them.
    compact();
    std::sort(codes_.begin(), codes_.end());
    for (const Code& code : codes_) {
        if (code.group >= 0) __builtin_prefetch(groups_.rows(code.group).data());
    }
    const Code* const end = codes_.data() + codes_.size();
    std::int64_t done = 0;
    for (const Code* code = codes_.data(); code != end && done < k_;) {
        const Code* last = code;
        while (last != end && last->distance == code->distance) ++last;
        const std::int64_t count = lowest(code, last, k_ - done, ids + done);
        std::fill_n(distances + done, count, code->distance);
        done += count;
        code = last;
    }
}

template class Nearest<std::uint32_t>;
template class Nearest<std::uint64_t>;

}  // namespace dmth_fast::cpu
