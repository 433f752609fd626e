#include "scan_price.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "search.h"
#include "thread_clock.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kBytes = std::int64_t{32} << 20;
constexpr std::int64_t kNeighbours = 10;
constexpr int kRuns = 2;

}  // namespace

ScanPrice::ScanPrice(const Source& source, const Call& call) {
    const Codes& codes = source.codes;
    const std::int64_t rows = std::min(codes.rows, std::max<std::int64_t>(1, kBytes / codes.bytes));
    const std::int64_t k = std::min(kNeighbours, rows);
    const Call alone{call.kernels, 1, nullptr};
    const Source part{{codes.data, rows, codes.bytes}, source.blocks};
    for (int step = 0; step < 3; ++step) {
        const std::int64_t count = std::int64_t{1} << (3 * step);
        std::vector<std::uint8_t> queries;
        for (std::int64_t i = 0; i < count; ++i) {
            const std::uint8_t* row = codes.row(i * codes.rows / count);
            queries.insert(queries.end(), row, row + codes.bytes);
        }
        std::vector<std::int32_t> distances(static_cast<std::size_t>(count * k));
        std::vector<std::int64_t> ids(distances.size());
        double least = 0;
        for (int run = 0; run < kRuns; ++run) {
            const double start = thread_nanoseconds();
            search_source(part, {queries.data(), count, codes.bytes}, k, distances.data(), ids.data(), true,
                          alone);
            const double taken = thread_nanoseconds() - start;
            if (run == 0 || taken < least) least = taken;
        }
        row_[step] = least / static_cast<double>(count * rows);
    }
}

double ScanPrice::of(std::int64_t queries, std::int64_t rows, int threads) const {
    const double at =
        std::clamp(std::log2(static_cast<double>(std::max<std::int64_t>(queries, 1))) / 3, 0.0, 2.0);
    const int below = std::min(1, static_cast<int>(at));
    const double part = at - below;
    const double row = row_[below] * (1 - part) + row_[below + 1] * part;
    const double shared = std::min(1.0, static_cast<double>(queries) / static_cast<double>(threads));
    return row * static_cast<double>(rows) * shared;
}

}  // namespace dmth_fast::cpu
