#include "multi_index_price.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "multi_index_tables.h"
#include "thread_clock.h"

namespace dmth_fast::cpu {
namespace {

// Queries that are asked to find how fast this machine is, and what each may cost.
constexpr std::int64_t kTrials = 16;
constexpr double kTrialPrice = 4e5;
constexpr std::uint64_t kFactor = 6364136223846793005ULL;  // of Knuth's linear congruential generator

}  // namespace

// Rows with about a sixth of their bits turned: whoever asks like this makes the tables work.
template <class Row>
double measure_pace(const Tables<Row>& tables, Codes codes, const Kernels& kernels) {
    const std::int64_t rows = tables.rows();
    const std::int64_t k = std::min<std::int64_t>(10, rows);
    std::vector<std::int32_t> distances(static_cast<std::size_t>(k));
    std::vector<std::int64_t> ids(distances.size());
    std::vector<std::uint8_t> query(static_cast<std::size_t>(codes.bytes));
    const auto searcher = make_searcher(tables, codes, kernels, 1);
    std::uint64_t state = 1;
    const auto draw = [&state] { return static_cast<std::uint8_t>((state = state * kFactor + 1) >> 56); };
    double taken = 0;
    double modelled = 0;
    for (std::int64_t i = 0; i < kTrials; ++i) {
        std::copy_n(codes.row(i * rows / kTrials), codes.bytes, query.data());
        for (std::uint8_t& byte : query) {
            byte = static_cast<std::uint8_t>(byte ^ (draw() & draw() & (draw() | draw())));
        }
        Effort effort;
        const double start = thread_nanoseconds();
        searcher->nearest(query.data(), k, kTrialPrice, distances.data(), ids.data(), effort);
        taken += thread_nanoseconds() - start;
        modelled += effort.cost;
    }
    return std::clamp(taken / modelled, .1, 20.0);
}

template double measure_pace(const Tables<std::uint32_t>&, Codes, const Kernels&);
template double measure_pace(const Tables<std::uint64_t>&, Codes, const Kernels&);

double expected_cost(std::int64_t rows, std::int64_t bits, std::int32_t radius) {
    const double wanted = KeyLayout::wanted_bits(rows);
    const auto tables =
        std::clamp<std::int64_t>(std::llround(static_cast<double>(bits) / wanted), 1, kMostTables);
    const auto key_bits = static_cast<int>(std::min<std::int64_t>(bits / tables, kMostKeyBits));
    double sum = kQuery;
    for (std::int64_t i = 0; i <= radius; ++i) {
        const auto far = static_cast<int>(std::min<std::int64_t>(i / tables, key_bits));
        sum += forecast(binomial(key_bits, far), static_cast<double>(rows) * std::exp2(-key_bits));
    }
    return sum;
}

}  // namespace dmth_fast::cpu
