#include "selection.h"

#include <algorithm>
#include <cstddef>

namespace dmth_fast::cpu {

Selector::Selector(std::int64_t k, std::int64_t bits, std::int32_t bound)
    : k_(k), limit_(bound), bound_(bound), counts_(static_cast<std::size_t>(bits) + 1, 0) {}

void Selector::offer(const std::uint32_t* index, const std::int32_t* distances, std::int64_t n,
                     std::int64_t first) {
    for (std::int64_t i = 0; i < n; ++i) {
        const std::int32_t d = distances[i];
        if (d > bound_) continue;
        entries_.push_back({first + static_cast<std::int64_t>(index[i]), d});
        ++counts_[static_cast<std::size_t>(d)];
        ++alive_;
    }
    tighten();
    if (static_cast<std::int64_t>(entries_.size()) > 2 * k_ + 512) compact();
}

void Selector::tighten() {
    if (alive_ < k_) return;
    while (alive_ - counts_[static_cast<std::size_t>(limit_)] >= k_) {
        alive_ -= counts_[static_cast<std::size_t>(limit_)];
        --limit_;
    }
    bound_ = limit_ - 1;
}

void Selector::compact() {
    std::int64_t last =
        k_ - (alive_ - counts_[static_cast<std::size_t>(limit_)]);  // how many at the limit stay
    std::size_t kept = 0;
    for (const Entry& entry : entries_) {
        if (entry.distance > limit_) continue;
        if (entry.distance == limit_ && last-- <= 0) continue;
        entries_[kept++] = entry;
    }
    entries_.resize(kept);
    counts_[static_cast<std::size_t>(limit_)] -= alive_ - k_;
    alive_ = k_;
}

std::int64_t Selector::merge(std::span<const Selector* const> parts, std::int64_t k, std::int64_t bits,
                             std::int32_t* distances, std::int64_t* ids) {
    std::vector<std::int64_t> next(static_cast<std::size_t>(bits) + 1, 0);
    for (const Selector* part : parts) {
        for (std::int32_t d = 0; d <= part->limit_; ++d) {
            next[static_cast<std::size_t>(d)] += part->counts_[static_cast<std::size_t>(d)];
        }
    }
    std::int64_t total = 0;
    for (std::int64_t& start : next) {
        const std::int64_t count = start;
        start = total;
        total += count;
    }
    for (const Selector* part : parts) {
        for (const Entry& entry : part->entries_) {
            if (entry.distance > part->limit_) continue;
            const std::int64_t place = next[static_cast<std::size_t>(entry.distance)]++;
            if (place >= k) continue;
            distances[place] = entry.distance;
            ids[place] = entry.id;
        }
    }
    return std::min(total, k);
}

}  // namespace dmth_fast::cpu
