// The best k rows of one query from codes that arrive in any order, each with all its rows.
//
// Contract. `bound()` is the distance of the k-th best row so far, or `bits` while there are fewer; a code
// beyond it is not wanted, a code at it is, since its rows may have lower numbers. Holds 4 k codes and a few.
// Why so few: among codes at one distance only the k with the lowest first rows can matter, since each of
// those is itself a row that comes before.
#pragma once

#include <cstdint>
#include <vector>

#include "multi_index_groups.h"

namespace dmth_fast::cpu {

template <class Row>
class Nearest {
  public:
    Nearest(const Groups<Row>& groups, std::int64_t bits)
        : groups_(groups), bits_(bits), counts_(static_cast<std::size_t>(bits) + 1) {}

    void reset(std::int64_t k);

    std::int32_t bound() const { return bound_; }
    bool full() const { return within_ >= k_; }
    std::int32_t furthest() const { return furthest_; }  // of the codes so far

    // `group` as Groups numbers it.
    void add(std::int32_t distance, Row first, std::int64_t group);

    // Writes the k best; there are at least k rows.
    void finish(std::int32_t* distances, std::int64_t* ids);

  private:
    struct Code {
        std::int32_t distance;
        Row first;
        std::int64_t group;
        bool operator<(const Code& other) const {
            return distance != other.distance ? distance < other.distance : first < other.first;
        }
    };

    void compact();
    // The `wanted` lowest rows, ascending, of codes in the order of their first rows; fewer if there are.
    std::int64_t lowest(const Code* begin, const Code* end, std::int64_t wanted, std::int64_t* ids);

    const Groups<Row>& groups_;
    std::int64_t bits_;
    std::int64_t k_ = 1;
    std::int64_t within_ = 0;  // rows within the bound
    std::int32_t bound_ = 0;
    std::int32_t furthest_ = 0;
    std::vector<std::int64_t> counts_;  // rows at each distance
    std::vector<Code> codes_;
    std::vector<Row> rows_;
};

extern template class Nearest<std::uint32_t>;
extern template class Nearest<std::uint64_t>;

}  // namespace dmth_fast::cpu
