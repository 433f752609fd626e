#include "plan.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

namespace dmth_fast::cuda {
namespace {

constexpr std::int64_t kBlocksOfMultiprocessor = 8;  // of 256 threads: 2048 resident threads
constexpr std::int64_t kCountBudget =
    48 * 1024;                                // shared memory of a counting block; leaves room for several
constexpr std::int64_t kMostCapacity = 8192;  // keys that one block sorts in shared memory
constexpr std::int64_t kLeastCapacity = 1024;
constexpr int kTensorBytes = 64;
constexpr int kSlicedBytes = 8;
constexpr std::int64_t kLeastTensorQueries = 8;
constexpr std::int64_t kLeastSlicedQueries = 64;  // transposing rows and filling tables costs as much as 12
constexpr std::int64_t kManyQueries = 64;         // whose candidates cost more than launches
constexpr std::int64_t kLeastRows = 4096;         // of a stage, for anything but the popcount scan
constexpr std::int64_t kSlicedQueryBytes = 128;   // at most, of a query in shared memory
constexpr std::int64_t kRowsOfSplit = 128;        // fewer and the start of a warp costs more than its rows

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

std::int64_t aligned(std::int64_t bytes) {
    return ceil_div(bytes, 256) * 256;
}

// Spreads rows over warps so that the device runs `waves` rounds of blocks, or fewer where rows run out.
Cut spread(std::int64_t rows, std::int64_t queries, int tile, int warps, std::int64_t waves,
           const Machine& machine) {
    const std::int64_t tiles = std::max<std::int64_t>(1, ceil_div(queries, tile));
    const std::int64_t blocks = machine.multiprocessors * kBlocksOfMultiprocessor * waves;
    std::int64_t row_blocks = std::max<std::int64_t>(1, ceil_div(blocks, tiles));
    row_blocks = std::min(row_blocks, std::max<std::int64_t>(1, rows / (kRowsOfSplit * warps)));
    row_blocks = std::max(row_blocks, ceil_div(rows, std::int64_t{1} << 31));  // 32-bit counters of a block
    row_blocks = std::min(row_blocks, kMostSplits);
    const std::int64_t per_split = 32 * ceil_div(std::max<std::int64_t>(rows, 1), 32 * row_blocks * warps);
    const std::int64_t splits = std::max<std::int64_t>(1, ceil_div(rows, per_split));
    return {tile, warps, splits, per_split};
}

// The largest tile and block whose counters fit the shared memory budget, or at least one warp and one query.
Cut counting_shape(int bytes, const Machine& machine) {
    const std::int64_t budget = std::min<std::int64_t>(kCountBudget, machine.shared_bytes);
    int tile = kTileQueries;
    int warps = kMostWarps;
    while (counter_bytes(bytes, warps, tile) > budget && (tile > 1 || warps > 1)) {
        if (warps > 4 || tile == 1) {
            warps /= 2;
        } else {
            tile /= 2;
        }
    }
    return {tile, warps, 0, 0};
}

Cut counting_cut(std::int64_t rows, std::int64_t queries, int bytes, const Machine& machine,
                 std::int64_t waves) {
    const Cut shape = counting_shape(bytes, machine);
    return spread(rows, queries, shape.tile, shape.warps, waves, machine);
}

// Fewer splits until the cells of `queries` queries fit the budget; a split keeps to its 32-bit counters.
void shrink_to(Cut& cut, std::int64_t rows, std::int64_t bins, std::int64_t queries, std::int64_t budget) {
    while (cut.splits > cut.warps && cut.rows_per_split < (std::int64_t{1} << 30) &&
           queries * (bins * cut.splits + 1) * 8 > budget) {
        cut.rows_per_split *= 2;
        cut.splits = std::max<std::int64_t>(1, ceil_div(rows, cut.rows_per_split));
    }
}

[[noreturn]] void refuse(const char* verb, std::int64_t needed, std::int64_t budget) {
    throw std::length_error(std::string(verb) + " needs a workspace of " + std::to_string(needed) +
                            " bytes for one tile of queries, but only " + std::to_string(budget) +
                            " bytes may be used");
}

Method method_of(Method wanted, std::int64_t rows, std::int64_t queries, int bytes, const Machine& machine) {
    if ((wanted == Method::kTensor || wanted == Method::kWarpgroup) && bytes > kTensorBytes) {
        const std::string name = wanted == Method::kTensor ? "tensor" : "warpgroup";
        throw std::invalid_argument("method " + name + " takes codes of at most 64 bytes, got " +
                                    std::to_string(bytes));
    }
    if (wanted == Method::kWarpgroup && !machine.warpgroup) {
        throw std::invalid_argument(
            "method warpgroup needs a device of compute capability 9.0 and a build with code for it, got " +
            std::to_string(machine.major) + "." + std::to_string(machine.minor) +
            (machine.major == 9 ? " without such code" : ""));
    }
    if (wanted == Method::kSliced && bytes > kSlicedBytes) {
        throw std::invalid_argument("method sliced takes codes of at most 8 bytes, got " +
                                    std::to_string(bytes));
    }
    if (wanted != Method::kAuto) return wanted;
    // By machine code, until the table of a device says otherwise: 32 rows of 64 bits take the tensor core
    // scan 84 clocks of a part of a multiprocessor whether it holds 1 query or 64, the popcount scan 16 for
    // each query, and bit slices 7. From compute capability 10.0 on the product of bits is put together from
    // others.
    if (rows < kLeastRows) return Method::kPopcount;
    const bool products = machine.major < 10;
    if (products && bytes <= kTensorBytes && queries >= kLeastTensorQueries) return Method::kTensor;
    if (!products && bytes <= kSlicedBytes && queries >= kLeastSlicedQueries) return Method::kSliced;
    return Method::kPopcount;
}

Cut stage_cut(const Stage& stage, std::int64_t queries, int bytes, const Machine& machine) {
    const std::int64_t rows = stage.end - stage.first;
    if (stage.method == Method::kPopcount) return spread(rows, queries, kTileQueries, kMostWarps, 4, machine);
    if (stage.method == Method::kTensor) return spread(rows, queries, kTensorTile, kMostWarps, 4, machine);
    if (stage.method == Method::kWarpgroup) {
        return spread(rows, queries, kTensorTile, kMostWarps / 4, 4, machine);
    }
    const std::int64_t table = bytes <= 4 ? 16 * 1024 : 32 * 1024;
    const std::int64_t room = machine.shared_bytes - kSlicedTile * kSlicedQueryBytes;
    const auto warps = static_cast<int>(std::clamp<std::int64_t>(room / table, 1, 6));
    return spread(rows, queries, kSlicedTile, warps, 4, machine);
}

}  // namespace

int access_unit(const void* data, std::int64_t bytes) {
    const auto bits = reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(bytes);
    for (int unit = 16; unit >= 4; unit /= 2) {
        if (bits % static_cast<unsigned>(unit) == 0) return unit;
    }
    return 1;
}

std::int64_t counter_bytes(int bytes, int warps, int tile) {
    return (8 * std::int64_t{bytes} + 1) * warps * tile * 4;
}

Cut plan_scan(std::int64_t rows, std::int64_t queries, std::int64_t shared_of_query, const Machine& machine) {
    int tile = kTileQueries;
    while (tile > 1 && tile * shared_of_query > std::min<std::int64_t>(kCountBudget, machine.shared_bytes))
        tile /= 2;
    if (tile * shared_of_query > machine.shared_bytes)
        refuse("a scan", shared_of_query, machine.shared_bytes);
    return spread(rows, queries, tile, kMostWarps, 4, machine);
}

CountPlan plan_histograms(std::int64_t rows, std::int64_t queries, int bytes, std::int64_t counter_bytes,
                          Method method, const Machine& machine) {
    if (method == Method::kSliced || method == Method::kWarpgroup) {
        const std::string name = method == Method::kSliced ? "sliced" : "warpgroup";
        throw std::invalid_argument("histograms take method auto, popcount or tensor, got " + name);
    }
    if (method_of(method, rows, queries, bytes, machine) == Method::kTensor) {
        // Several blocks of 64 queries share a multiprocessor; of wide codes one block of 16 may fill it.
        if (kTensorTile * counter_bytes <= std::min<std::int64_t>(kCountBudget, machine.shared_bytes)) {
            return {Method::kTensor, spread(rows, queries, kTensorTile, kMostWarps, 4, machine)};
        }
        if (kTensorCountTile * counter_bytes <= machine.shared_bytes) {
            return {Method::kTensor, spread(rows, queries, kTensorCountTile, kMostWarps, 4, machine)};
        }
        if (method == Method::kTensor)
            refuse("a histogram", kTensorCountTile * counter_bytes, machine.shared_bytes);
    }
    return {Method::kPopcount, plan_scan(rows, queries, counter_bytes, machine)};
}

SearchPlan plan_search(std::int64_t rows, std::int64_t queries, int bytes, std::int64_t k, Method method,
                       const Machine& machine, std::int64_t budget) {
    SearchPlan plan{};
    plan.rows = rows;
    plan.queries = queries;
    plan.k = k;
    plan.bytes = bytes;
    plan.queries_per_pass = std::max<std::int64_t>(queries, 1);

    // Small k. A stage that makes the rows seen `growth` times as many finds about (growth - 1) k new
    // candidates in rows of random order, and holds k old ones: half the capacity stays free for luck.
    const std::int64_t capacity = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(16 * std::min(k, rows)))),
        kLeastCapacity, kMostCapacity);
    const std::int64_t first_rows = capacity / 2;
    if (k <= kMostCapacity / 8 && capacity * 8 <= machine.shared_bytes && rows > 4 * k) {
        plan.capacity = capacity;
        // Slow growth has more launches, and fewer candidates: (growth - 1) / log(growth) k for each e-fold.
        const std::int64_t most = queries < kManyQueries ? 16 : 4;
        const std::int64_t growth = std::clamp<std::int64_t>(capacity / (2 * k), 2, most);
        for (std::int64_t first = 0; first < rows;) {
            std::int64_t end = first == 0 ? first_rows : first * growth;
            if (end > rows || end > rows - rows / 8) end = rows;  // no short last stage
            if (first == 0) end = std::min(rows, first_rows);
            Stage stage{first, end, Method::kPopcount, {}};
            // The first stage takes every row, and that is the popcount scan's case.
            if (first > 0) stage.method = method_of(method, end - first, queries, bytes, machine);
            stage.cut = stage_cut(stage, queries, bytes, machine);
            plan.stages.push_back(stage);
            first = end;
        }
    } else {
        const std::int64_t sample = std::max(rows / 16, std::min(rows, 4 * k));
        if (sample <= rows / 2) {
            plan.bound_rows = sample;
            plan.bound_cut = plan_scan(sample, queries, plan.bins() * 4, machine);
        }
    }
    plan.count_cut = counting_cut(rows, queries, bytes, machine, 2);
    shrink_to(plan.count_cut, rows, plan.bins(), plan.queries_per_pass, budget / 2);

    // A pass holds, for each query, its state (five numbers, a histogram) and the larger of keys and cells.
    const std::int64_t of_query =
        std::max(plan.capacity, plan.cells_of_query()) * 8 + 24 + (plan.bound_rows > 0 ? plan.bins() * 8 : 0);
    const std::int64_t fixed = 8 * 256;
    const std::int64_t tile = std::min<std::int64_t>(plan.queries_per_pass, kTileQueries);
    if (fixed + tile * of_query > budget) refuse("search", fixed + tile * of_query, budget);
    const std::int64_t fitting = (budget - fixed) / of_query;
    if (fitting < plan.queries_per_pass)
        plan.queries_per_pass = std::max(tile, fitting / kTileQueries * kTileQueries);
    plan.workspace_bytes = aligned(fixed + plan.queries_per_pass * of_query);
    return plan;
}

RangePlan plan_range(std::int64_t rows, std::int64_t queries, int bytes, const Machine& machine,
                     std::int64_t budget) {
    RangePlan plan{};
    plan.rows = rows;
    plan.queries = queries;
    plan.bytes = bytes;
    plan.queries_per_pass = std::max<std::int64_t>(queries, 1);
    plan.cut = counting_cut(rows, queries, bytes, machine, 2);
    shrink_to(plan.cut, rows, plan.bins(), plan.queries_per_pass, budget);
    const std::int64_t of_query = plan.cells_of_query() * 8 + 24;
    const std::int64_t fixed = 4 * 256;
    const std::int64_t tile = std::min<std::int64_t>(plan.queries_per_pass, kTileQueries);
    if (fixed + tile * of_query > budget) refuse("range_search", fixed + tile * of_query, budget);
    const std::int64_t fitting = (budget - fixed) / of_query;
    if (fitting < plan.queries_per_pass)
        plan.queries_per_pass = std::max(tile, fitting / kTileQueries * kTileQueries);
    plan.workspace_bytes = aligned(fixed + plan.queries_per_pass * of_query);
    return plan;
}

}  // namespace dmth_fast::cuda
