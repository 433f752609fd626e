// What a search by tables costs: a model of keys, stretches and postings, and this machine's pace in it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "multi_index_keys.h"

namespace dmth_fast::cpu {

// Nanoseconds, measured on Zen 4 with three tables of 10 M codes, everything beyond the offsets in memory.
constexpr double kQuery = 600;   // whatever the query
constexpr double kLookUp = 2.5;  // of a key
constexpr double kStretch = 9;   // of rows, wherever it begins
constexpr double kPosting = .45;

inline double cost_of(double keys, double stretches, double postings) {
    return keys * kLookUp + stretches * kStretch + postings * kPosting;
}

// What looking up `keys` keys costs if each holds `density` rows.
inline double forecast(double keys, double density) {
    return cost_of(keys, keys * std::min(1.0, density), keys * density);
}

// Keys of `bits` bits that differ in `far` of them.
class Binomials {
  public:
    constexpr Binomials() {
        for (std::size_t n = 0; n < rows_.size(); ++n) {
            rows_[n][0] = 1;
            for (std::size_t k = 1; k <= n; ++k) rows_[n][k] = rows_[n - 1][k - 1] + rows_[n - 1][k];
        }
    }
    constexpr double operator()(int bits, int far) const {
        return rows_[static_cast<std::size_t>(bits)][static_cast<std::size_t>(far)];
    }

  private:
    std::array<std::array<double, kMostKeyBits + 2>, kMostKeyBits + 1> rows_{};
};

inline constexpr Binomials binomial;

}  // namespace dmth_fast::cpu
