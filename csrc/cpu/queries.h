// A tile of queries, prepared for kernel "sel".
//
// A query reads the planes where it has a one, or, if those are more than half, where it has a zero. Queries
// are sorted by how many planes they read, padded to a few classes, so that each class runs through one
// unrolled kernel. A bound on the distance is kept as constants of the comparison; changing it costs a few
// stores.
#pragma once

#include <cstdint>
#include <vector>

#include "../codes.h"
#include "planes.h"

namespace dmth_fast::cpu {

class PlaneQueries {
  public:
    static constexpr std::int64_t kMost = 128;  // their state stays in the L1 and L2 caches beside a block

    // At most kMost queries; every bound starts at `bits`.
    PlaneQueries(Codes queries, const PlaneLayout& layout);

    // Rows at distance <= bound from query q are hits from now on; a negative bound: none.
    void set_bound(std::int64_t q, std::int32_t bound);

    // How the value A of kernel "sel" gives a query's distance: offset + sign * A.
    struct Value {
        int offset;
        int sign;
    };
    Value value(std::int64_t q) const;

    const std::vector<PlaneRun>& runs() const { return runs_; }
    std::int64_t size() const { return static_cast<std::int64_t>(places_.size()); }
    std::int64_t alive() const { return alive_; }  // queries with a bound of at least 0

  private:
    struct Place {
        std::int32_t slot;
        std::int32_t ones;
        bool complement;
        bool alive;
    };

    PlaneLayout layout_;
    std::int64_t alive_;
    std::vector<Place> places_;
    std::vector<std::uint16_t> offsets_;
    std::vector<std::int32_t> constants_;
    std::vector<PlaneRun> runs_;
};

// The same queries for kernel "tab".
class TabQueries {
  public:
    // Codes of at most TabQuery::kMostBytes bytes. `words`: of a vector.
    TabQueries(Codes queries, std::int64_t words);

    // As PlaneQueries'. A query with a negative bound leaves for good.
    void set_bound(std::int64_t q, std::int32_t bound);

    // Whether the kernel can run: a bound that excludes nothing has no place in its adders.
    bool bounded() const { return unbounded_ == 0; }
    const TabQuery* data() const { return queries_.data(); }
    std::int64_t size() const { return static_cast<std::int64_t>(queries_.size()); }

  private:
    struct Place {
        std::int32_t slot;  // -1: gone
        std::int32_t last;  // pattern of the last item without its constant
        bool unbounded;
    };

    std::int32_t bits_;
    std::int64_t words_;
    std::int64_t unbounded_;
    std::vector<Place> places_;
    std::vector<TabQuery> queries_;
};

}  // namespace dmth_fast::cpu
