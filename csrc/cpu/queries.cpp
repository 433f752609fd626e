#include "queries.h"

#include <algorithm>
#include <numeric>

namespace dmth_fast::cpu {
namespace {

// Classes of kernel "sel": multiples of 4 planes up to 127 bits, wider ones the wider the code.
int padded(int ones, int levels) {
    const int step = levels <= 7 ? 4 : levels == 8 ? 8 : 16;
    return std::max(step, (ones + step - 1) / step * step);
}

}  // namespace

PlaneQueries::PlaneQueries(Codes queries, const PlaneLayout& layout)
    : layout_(layout), alive_(queries.rows), places_(static_cast<std::size_t>(queries.rows)) {
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        int ones = 0;
        for (std::int64_t b = 0; b < layout.bytes; ++b) {
            ones += __builtin_popcount(static_cast<unsigned>(queries.row(q)[b]));
        }
        const bool complement = 2 * ones > layout.planes;
        places_[static_cast<std::size_t>(q)] = {
            .slot = 0,
            .ones = complement ? layout.planes - ones : ones,
            .offsets = 0,
            .complement = complement,
            .alive = true,
        };
    }
    std::vector<std::int32_t> order(places_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return places_[static_cast<std::size_t>(a)].ones < places_[static_cast<std::size_t>(b)].ones;
    });

    constants_.assign(places_.size() * PlaneRun::kConstants, 0);
    std::vector<std::size_t> starts;  // of each run in offsets_, which may still move
    for (std::size_t slot = 0; slot < order.size(); ++slot) {
        const std::int32_t q = order[slot];
        Place& place = places_[static_cast<std::size_t>(q)];
        place.slot = static_cast<std::int32_t>(slot);
        const int planes = padded(place.ones, layout.levels);
        if (runs_.empty() || runs_.back().planes != planes) {
            runs_.push_back({planes, 0, nullptr, constants_.data() + slot * PlaneRun::kConstants});
            starts.push_back(offsets_.size());
        }
        ++runs_.back().count;
        place.offsets = offsets_.size();
        const std::uint8_t* bytes = queries.row(q);
        int listed = 0;
        for (int j = 0; j < layout.planes; ++j) {
            const bool one = (bytes[j / 8] >> (j % 8) & 1) != 0;
            if (one == place.complement) continue;
            offsets_.push_back(static_cast<std::uint16_t>(j * kBlockWords));
            ++listed;
        }
        offsets_.insert(offsets_.end(), static_cast<std::size_t>(planes - listed),
                        static_cast<std::uint16_t>(layout.zero()));
        std::int32_t* constants = constants_.data() + slot * PlaneRun::kConstants;
        constants[PlaneRun::kFlip] = place.complement ? -1 : 0;
        constants[PlaneRun::kQuery] = q;
        set_bound(q, layout.planes);
    }
    for (std::size_t i = 0; i < runs_.size(); ++i) runs_[i].offsets = offsets_.data() + starts[i];
}

PlaneQueries::Single PlaneQueries::single(std::int64_t q) const {
    const Place& place = places_[static_cast<std::size_t>(q)];
    const std::int32_t* constants =
        constants_.data() + static_cast<std::ptrdiff_t>(place.slot) * PlaneRun::kConstants;
    const PlaneRun run{padded(place.ones, layout_.levels), 1, offsets_.data() + place.offsets, constants};
    const int most = (1 << layout_.levels) - 1;
    if (place.complement) return {run, layout_.planes - place.ones - most, 1};
    return {run, place.ones + most, -1};
}

void PlaneQueries::set_bound(std::int64_t q, std::int32_t bound) {
    Place& place = places_[static_cast<std::size_t>(q)];
    const std::int32_t scale = std::int32_t{1} << layout_.levels;
    // Kernel "sel" decides 2^L - 1 - |x| + 2 |x & q| >= least.
    std::int32_t least =
        place.complement ? scale + bound - layout_.planes + place.ones : scale - 1 + place.ones - bound;
    least = std::max(least, 0);
    if (bound < 0) least = place.complement ? 0 : 2 * scale - 1;
    std::int32_t* constants =
        constants_.data() + static_cast<std::ptrdiff_t>(place.slot) * PlaneRun::kConstants;
    for (int j = 0; j <= layout_.levels; ++j) constants[j] = ((least >> j) & 1) - 1;
    alive_ += static_cast<int>(bound >= 0) - static_cast<int>(place.alive);
    place.alive = bound >= 0;
}

}  // namespace dmth_fast::cpu
