#include "selection.h"

#include <algorithm>
#include <vector>

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kMostBatch = 64;

// Rows that are held at most: twice k, and those of blocks that came before they were found to be too many.
std::int64_t capacity(std::int64_t k, std::int64_t rows) {
    return std::min(2 * k + 2 * kBlockRows, rows) + kBlockRows + kMostBatch + kExtractSlack;
}

}  // namespace

Selector::Selector(std::int64_t k, std::int64_t bits, std::int32_t bound, std::int64_t first,
                   std::int64_t rows, std::byte* memory)
    : k_(k),
      first_(first),
      batch_(std::clamp<std::int64_t>(k / 4, 4, kMostBatch)),
      limit_(bound),
      bound_(bound),
      counts_(reinterpret_cast<std::uint32_t*>(memory)),
      rows_(counts_ + bits + 1),
      distances_(reinterpret_cast<std::uint16_t*>(rows_ + capacity(k, rows))) {
    std::fill_n(counts_, bits + 1, 0);
}

std::size_t Selector::memory_for(std::int64_t k, std::int64_t bits, std::int64_t rows) {
    return static_cast<std::size_t>((4 * (bits + 1) + 6 * capacity(k, rows) + 63) / 64 * 64);
}

bool Selector::push(const std::uint64_t* mask, std::int64_t block, Codes codes, const std::uint8_t* query,
                    const Kernels& kernels) {
    const std::int64_t found =
        kernels.extract(mask, static_cast<std::uint32_t>(block - first_), rows_ + size_);
    for (std::int64_t i = size_; i < size_ + found; ++i) __builtin_prefetch(codes.row(first_ + rows_[i]));
    size_ += found;
    if (size_ - settled_ < batch_) return false;
    settle(codes, query, kernels);
    return true;
}

void Selector::settle(Codes codes, const std::uint8_t* query, const Kernels& kernels) {
    std::int32_t near[kBlockRows];
    std::int64_t kept = settled_;
    for (std::int64_t at = settled_; at < size_; at += kBlockRows) {
        const std::int64_t n = std::min(kBlockRows, size_ - at);
        kernels.distances_at(codes.row(first_), codes.bytes, rows_ + at, n, query, near);
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int32_t d = near[i];  // the bound may have fallen since the row was noted
            rows_[kept] = rows_[at + i];
            distances_[kept] = static_cast<std::uint16_t>(d);
            const std::int64_t wanted = d <= bound_;
            counts_[d] += static_cast<std::uint32_t>(wanted);
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
    while (alive_ - counts_[limit_] >= k_) {
        alive_ -= counts_[limit_];
        --limit_;
    }
    bound_ = limit_ - 1;
}

void Selector::compact() {
    std::int64_t last = k_ - (alive_ - counts_[limit_]);  // how many at the limit stay
    std::int64_t kept = 0;
    for (std::int64_t i = 0; i < size_; ++i) {
        if (distances_[i] > limit_ || (distances_[i] == limit_ && last-- <= 0)) continue;
        rows_[kept] = rows_[i];
        distances_[kept++] = distances_[i];
    }
    counts_[limit_] -= static_cast<std::uint32_t>(alive_ - k_);
    alive_ = settled_ = size_ = k_;
}

std::int64_t Selector::merge(std::span<const Selector* const> parts, std::int64_t k, std::int64_t bits,
                             std::int32_t* distances, std::int64_t* ids) {
    std::vector<std::int64_t> next(static_cast<std::size_t>(bits) + 1, 0);
    for (const Selector* part : parts) {
        for (std::int32_t d = 0; d <= part->limit_; ++d)
            next[static_cast<std::size_t>(d)] += part->counts_[d];
    }
    std::int64_t total = 0;
    for (std::size_t d = 0; d < next.size(); ++d) {
        const std::int64_t count = next[d];
        next[d] = std::min(total, k);
        std::fill(distances + next[d], distances + std::min(total + count, k), static_cast<std::int32_t>(d));
        total += count;
    }
    std::int64_t beyond =
        0;  // takes the rows that are not among the k best, without a branch on which they are
    for (const Selector* part : parts) {
        for (std::int64_t i = 0; i < part->size_; ++i) {
            // A row above its part's limit came before the limit fell: it has a place behind the k-th.
            const std::int64_t place = next[part->distances_[i]]++;
            *(place < k ? ids + place : &beyond) = part->first_ + part->rows_[i];
        }
    }
    return std::min(total, k);
}

}  // namespace dmth_fast::cpu
