// Equal codes: one entry, the first row, with a list of all its rows.
//
// Learned codes repeat heavily, a class collapsing to a few codes. The tables hold the first row of each code
// alone; a bit map says which of these have further rows, and a rank over it leads to their list. So codes
// that occur once cost a bit, and no look-up beyond a map that stays in the cache. Row is a 32-bit number
// where all row numbers fit, else 64 bits.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "../codes.h"
#include "../retrieval.h"
#include "pages.h"

namespace dmth_fast::cpu {

template <class Row>
class Groups {
  public:
    // Collapses codes; `firsts` becomes the first row of each code, ascending. False if interrupted.
    bool build(Codes codes, const Call& call, PagedArray<Row>& firsts);

    // Whether the first row of a code has further rows; `rows_of` is for those alone.
    bool repeated(Row first) const {
        return !words_.empty() && (words_[first / 64].repeated >> (first % 64) & 1) != 0;
    }
    void prefetch(Row first) const {
        if (!words_.empty()) __builtin_prefetch(&words_[first / 64]);
    }

    // All rows of a code, ascending.
    std::span<const Row> rows_of(Row first) const {
        const Word& word = words_[first / 64];
        const std::uint64_t below = word.repeated & ((std::uint64_t{1} << (first % 64)) - 1);
        const auto group = static_cast<std::int64_t>(word.rank) + std::popcount(below);
        return {rows_.data() + starts_[group], rows_.data() + starts_[group + 1]};
    }

    std::int64_t memory() const {
        return static_cast<std::int64_t>(words_.size() * sizeof(Word)) + starts_.bytes() + rows_.bytes();
    }

  private:
    struct Word {
        std::uint64_t repeated;
        std::uint64_t rank;  // groups before this word
    };

    std::vector<Word> words_;  // empty where no code repeats
    PagedArray<Row> starts_;
    PagedArray<Row> rows_;
};

extern template class Groups<std::uint32_t>;
extern template class Groups<std::uint64_t>;

}  // namespace dmth_fast::cpu
