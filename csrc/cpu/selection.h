// The best k rows of one query over one ascending stretch of rows, in the order (distance, row).
//
// Contract. Rows are offered in ascending order, so that among equal distances the first to come is the one
// to keep. `bound()` only falls; a row with a distance above it cannot enter any more. Holds at most 2 k rows
// and a batch, and a count for each distance. Why counting: distances are small integers, so the k-th best of
// what has been seen is known from counts alone, no heap is kept, and one counting sort at the end gives the
// order. Once k rows are in, a further row at the k-th distance comes too late: the bound drops below it,
// which ends most work on heavily tied codes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dmth_fast::cpu {

class Selector {
  public:
    // Distances lie in [0, bits]; rows beyond `bound` are not wanted.
    Selector(std::int64_t k, std::int64_t bits, std::int32_t bound);

    std::int32_t bound() const { return bound_; }

    // Rows `first + index[i]` at distances[i], i < n.
    void offer(const std::uint32_t* index, const std::int32_t* distances, std::int64_t n, std::int64_t first);

    // Writes the k best rows of several stretches, given in ascending order of their rows. Returns how many
    // there are: less than k if the stretches hold fewer within their bounds.
    static std::int64_t merge(std::span<const Selector* const> parts, std::int64_t k, std::int64_t bits,
                              std::int32_t* distances, std::int64_t* ids);

  private:
    struct Entry {
        std::int64_t id;
        std::int32_t distance;
    };

    void tighten();
    void compact();

    std::int64_t k_;
    std::int32_t limit_;  // entries beyond it are dead: k rows are at or below it
    std::int32_t bound_;
    std::int64_t alive_ = 0;
    std::vector<std::int64_t> counts_;
    std::vector<Entry> entries_;
};

}  // namespace dmth_fast::cpu
