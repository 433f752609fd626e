#include "selection.h"

#include <algorithm>
#include <cstddef>

namespace dmth_fast::cpu {

Selector::Selector(std::int64_t k, std::int64_t bits, std::int32_t bound, std::int64_t first)
    : k_(k),
      first_(first),
      batch_(std::clamp<std::int64_t>(k / 4, 4, 64)),
      limit_(bound),
      bound_(bound),
      rows_(static_cast<std::size_t>(batch_ + kBlockRows)),
      counts_(static_cast<std::size_t>(bits) + 1, 0) {}

bool Selector::push(const std::uint64_t* mask, std::int64_t block, Codes codes, const std::uint8_t* query,
                    const Kernels& kernels) {
    if (size_ + kBlockRows > static_cast<std::int64_t>(rows_.size())) rows_.resize(rows_.size() * 2);
    std::uint32_t* rows = rows_.data();
    std::int64_t size = size_;
    const auto base = static_cast<std::uint32_t>(block - first_);
    for (std::int64_t word = 0; word < kBlockWords; ++word) {
        for (std::uint64_t left = mask[word]; left != 0; left &= left - 1) {
            const auto i = static_cast<std::uint32_t>(word * 64 + __builtin_ctzll(left));
            rows[size++] = base + i;
            __builtin_prefetch(codes.row(block + i));
        }
    }
    size_ = size;
    if (size_ - settled_ < batch_) return false;
    settle(codes, query, kernels);
    return true;
}

void Selector::settle(Codes codes, const std::uint8_t* query, const Kernels& kernels) {
    std::int32_t near[kBlockRows];
    if (distances_.size() < rows_.size()) distances_.resize(rows_.size());
    std::int64_t kept = settled_;
    for (std::int64_t at = settled_; at < size_; at += kBlockRows) {
        const std::int64_t n = std::min(kBlockRows, size_ - at);
        kernels.distances_at(codes.row(first_), codes.bytes, rows_.data() + at, n, query, near);
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int32_t d = near[i];  // the bound may have fallen since the row was noted
            rows_[static_cast<std::size_t>(kept)] = rows_[static_cast<std::size_t>(at + i)];
            distances_[static_cast<std::size_t>(kept)] = static_cast<std::uint16_t>(d);
            const std::int64_t wanted = d <= bound_;
            counts_[static_cast<std::size_t>(d)] += static_cast<std::uint32_t>(wanted);
            kept += wanted;
        }
    }
    alive_ += kept - settled_;
    settled_ = size_ = kept;
    tighten();
    if (size_ > 2 * k_ + kBlockRows) compact();
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
    const auto limit = static_cast<std::size_t>(limit_);
    std::int64_t last = k_ - (alive_ - counts_[limit]);  // how many at the limit stay
    std::size_t kept = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(size_); ++i) {
        if (distances_[i] > limit_ || (distances_[i] == limit_ && last-- <= 0)) continue;
        rows_[kept] = rows_[i];
        distances_[kept++] = distances_[i];
    }
    counts_[limit] -= static_cast<std::uint32_t>(alive_ - k_);
    alive_ = settled_ = size_ = k_;
}

std::int64_t Selector::merge(std::span<const Selector* const> parts, std::int64_t k, std::int64_t bits,
                             std::int32_t* distances, std::int64_t* ids) {
    std::vector<std::int64_t> next(static_cast<std::size_t>(bits) + 1, 0);
    for (const Selector* part : parts) {
        for (std::size_t d = 0; static_cast<std::int32_t>(d) <= part->limit_; ++d)
            next[d] += part->counts_[d];
    }
    std::int64_t total = 0;
    std::int32_t last = -1;  // no row beyond this distance is among the k best
    for (std::size_t d = 0; d < next.size(); ++d) {
        const std::int64_t count = next[d];
        if (total < k) last = static_cast<std::int32_t>(d);
        next[d] = total;
        total += count;
    }
    for (const Selector* part : parts) {
        const std::int32_t limit = std::min(last, part->limit_);
        for (std::size_t i = 0; i < static_cast<std::size_t>(part->size_); ++i) {
            const std::int32_t d = part->distances_[i];
            if (d > limit) continue;
            const std::int64_t place = next[static_cast<std::size_t>(d)]++;
            if (place >= k) continue;
            distances[place] = d;
            ids[place] = part->first_ + part->rows_[i];
        }
    }
    return std::min(total, k);
}

}  // namespace dmth_fast::cpu
