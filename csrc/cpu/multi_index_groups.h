// Equal codes: one entry, the first row, with a list of all its rows.
//
// Learned codes repeat heavily, a class collapsing to a few codes. The tables hold the first row of each code
// alone; a bit map says which of these have further rows, and a rank over it leads to their list. So codes
// that occur once cost a bit, and no look-up beyond a map that stays in the cache. Row is a 32-bit number
// where all row numbers fit, else 64 bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../codes.h"
#include "../retrieval.h"
#include "multi_index_keys.h"
#include "pages.h"

namespace dmth_fast::cpu {

template <class Row>
class Groups {
  public:
    // Collapses codes; `firsts` becomes the first row of each code, ascending. False if interrupted.
    bool build(Codes codes, const Call& call, PagedArray<Row>& firsts);

    // The number of a code's list, or -1 if its first row is its only one.
    std::int64_t group(Row first) const {
        if (words_.empty() || (words_[first / 64].repeated >> (first % 64) & 1) == 0) return -1;
        const Word& word = words_[first / 64];
        return static_cast<std::int64_t>(word.rank) +
               ones(word.repeated & ((std::uint64_t{1} << (first % 64)) - 1));
    }
    void prefetch(Row first) const {
        if (!words_.empty()) __builtin_prefetch(&words_[first / 64]);
    }
    void prefetch_size(std::int64_t group) const { __builtin_prefetch(&starts_[group]); }

    std::int64_t size(std::int64_t group) const {
        return static_cast<std::int64_t>(starts_[group + 1]) - static_cast<std::int64_t>(starts_[group]);
    }
    // All rows of a code, ascending.
    std::span<const Row> rows(std::int64_t group) const {
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
