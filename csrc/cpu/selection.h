// The best k rows of one query over one ascending stretch of rows, in the order (distance, row).
//
// Contract. Rows are pushed in ascending order, so that among equal distances the first to come is the one to
// keep. `bound()` only falls; a row with a distance above it cannot enter any more. Holds at most 2 k rows
// and a few blocks' rows, 6 bytes each, and a count for each distance, in memory that the caller gives: no
// more rows than are worth it are touched. Why counting: distances are small integers, so the k-th best of
// what has been seen is known from counts alone, no heap is kept, and one counting sort at the end gives the
// order. Once k rows are in, a further row at the k-th distance comes too late: the bound drops below it,
// which ends most work on heavily tied codes. Why deferred: a row is only noted, and its line fetched, when
// it passes the bound; distances are computed for a batch, when the lines have arrived.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../codes.h"
#include "kernels.h"

namespace dmth_fast::cpu {

class Selector {
  public:
    // Distances lie in [0, bits]; rows beyond `bound` are not wanted. Rows are numbered from `first`.
    // `memory` has memory_for(...) bytes and is 4-byte aligned.
    Selector(std::int64_t k, std::int64_t bits, std::int32_t bound, std::int64_t first, std::int64_t rows,
             std::byte* memory);

    // For k of `rows` rows.
    static std::size_t memory_for(std::int64_t k, std::int64_t bits, std::int64_t rows);

    std::int32_t bound() const { return bound_; }
    std::int32_t limit() const { return limit_; }

    // Notes rows of the block that begins at `block` (an absolute number). True if the bound may have fallen.
    bool push(const std::uint64_t* mask, std::int64_t block, Codes codes, const std::uint8_t* query,
              const Kernels& kernels);

    // Computes what has been deferred.
    void settle(Codes codes, const std::uint8_t* query, const Kernels& kernels);

    // Writes the k best rows of several stretches, given in ascending order of their rows. Returns how many
    // there are: less than k if the stretches hold fewer within their bounds.
    static std::int64_t merge(std::span<const Selector* const> parts, std::int64_t k, std::int64_t bits,
                              std::int32_t* distances, std::int64_t* ids);

  private:
    void tighten();
    void compact();

    std::int64_t k_;
    std::int64_t first_;
    std::int64_t alive_ = 0;  // rows at or below the limit
    std::int64_t settled_ = 0;
    std::int64_t size_ = 0;
    std::int64_t batch_;
    std::int32_t limit_;  // rows beyond it are dead: k rows are at or below it
    std::int32_t bound_;
    std::uint32_t* counts_;
    std::uint32_t* rows_;  // the first settled_ ones have distances
    std::uint16_t* distances_;
};

}  // namespace dmth_fast::cpu
