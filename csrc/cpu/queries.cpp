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

PlaneQueries::Value PlaneQueries::value(std::int64_t q) const {
    const Place& place = places_[static_cast<std::size_t>(q)];
    const int most = (1 << layout_.levels) - 1;
    if (place.complement) return {layout_.planes - place.ones - most, 1};
    return {place.ones + most, -1};
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

TabQueries::TabQueries(Codes queries, std::int64_t words)
    : bits_(static_cast<std::int32_t>(queries.bytes * 8)), words_(words), unbounded_(queries.rows) {
    const auto count = static_cast<std::size_t>(queries.rows);
    places_.reserve(count);
    queries_.reserve(count);
    const int items = bits_ / 2;
    for (std::int64_t q = 0; q < queries.rows; ++q) {
        std::uint8_t bits[12 * TabQuery::kMostBytes] = {};  // of the planes, then of the derived planes
        for (int j = 0; j < bits_; ++j) bits[j] = queries.row(q)[j / 8] >> (j % 8) & 1;
        TabQuery query{};
        query.query = static_cast<std::int32_t>(q);
        int pattern = 0;
        for (int i = 0; i < items; ++i) {
            const std::uint8_t* of = bits + 3 * i;
            pattern = of[0] | of[1] << 1;
            if (i + 1 == items) break;
            pattern |= of[2] << 2;
            bits[bits_ + i] = of[0] ^ of[1] ^ of[2];
            query.patterns[i] = static_cast<std::uint8_t>(pattern * words_);
        }
        places_.push_back({static_cast<std::int32_t>(q), pattern, true});
        queries_.push_back(query);
    }
}

void TabQueries::set_bound(std::int64_t q, std::int32_t bound) {
    Place& place = places_[static_cast<std::size_t>(q)];
    if (place.slot < 0) return;
    const bool unbounded = bound >= bits_;
    unbounded_ += static_cast<int>(unbounded) - static_cast<int>(place.unbounded);
    place.unbounded = unbounded;
    if (unbounded) return;
    if (bound < 0) {
        queries_[static_cast<std::size_t>(place.slot)] = queries_.back();
        places_[static_cast<std::size_t>(queries_.back().query)].slot = place.slot;
        queries_.pop_back();
        place.slot = -1;
        return;
    }
    TabQuery& query = queries_[static_cast<std::size_t>(place.slot)];
    const int even = bound % 2 == 0 ? 1 : 0;
    query.patterns[bits_ / 2 - 1] = static_cast<std::uint8_t>((place.last | even << 2) * words_);
    const int start = -1 - bound / 2;
    for (int j = 0; j < 5; ++j) query.start[j] = -(start >> j & 1);
}

}  // namespace dmth_fast::cpu
