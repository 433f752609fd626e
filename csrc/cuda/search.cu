// The k nearest rows of each query: stages of candidates for small k, counting for large k and for what
// failed.
//
// Small k costs one scan: the stages cover each row once, and a stage's bound lets about (growth - 1) k rows
// of a random order through. Counting costs two scans, less the splits of the second that hold no result. It
// also does again the queries whose candidates outgrew their list (rows in an order of falling distance);
// without such queries its three launches end at once.
#include <algorithm>

#include "launches.cuh"
#include "sliced.cuh"
#include "tensor.cuh"
#include "warpgroup.cuh"

namespace dmth_fast::cuda {
namespace {

struct Workspace {
    char* next;

    template <class T>
    T* take(std::int64_t count) {
        T* result = reinterpret_cast<T*>(next);
        next += (count * static_cast<std::int64_t>(sizeof(T)) + 255) / 256 * 256;
        return result;
    }
};

Rows part_of(Codes codes, std::int64_t first, std::int64_t count) {
    return rows_of({codes.data + first * codes.bytes, count, codes.bytes});
}

struct Pass {
    Rows codes;
    Rows queries;
    const std::uint8_t* filter;
    cudaStream_t stream;

    Scan over(std::int64_t first, std::int64_t end, const Cut& cut) const {
        return {codes, queries, filter, first, end, cut.rows_per_split, cut.splits, cut.tile};
    }
    Scan over(const Cut& cut) const { return over(0, codes.count, cut); }
};

void collect(const Pass& pass, const Stage& stage, const SearchState& state) {
    const Scan scan = pass.over(stage.first, stage.end, stage.cut);
    const Collect action{state.bounds, state.counts, state.keys, state.capacity};
    if (stage.method == Method::kTensor) {
        run_tensor_collect(scan, stage.cut.warps, pass.stream, action);
    } else if (stage.method == Method::kWarpgroup) {
        run_warpgroup_collect(scan, stage.cut.warps, pass.stream, action);
    } else if (stage.method == Method::kSliced) {
        run_sliced_collect(scan, stage.cut.warps, pass.stream, action);
    } else {
        run_scan("search: collect", scan, stage.cut.warps, 0, pass.stream, action);
    }
}

void count_cells(const Pass& pass, const Cut& cut, const int* bounds, std::int64_t* cells,
                 std::int64_t cells_of_query) {
    const std::int64_t bins = 8 * std::int64_t{pass.codes.bytes} + 1;
    run_scan("cells: count", pass.over(cut), cut.warps,
             static_cast<std::size_t>(counter_bytes(pass.codes.bytes, cut.warps, cut.tile)), pass.stream,
             CountCells{bounds, cells, cells_of_query, bins});
}

void write_ranked(const Pass& pass, const Cut& cut, const int* bounds, const std::int64_t* cells,
                  std::int64_t cells_of_query, std::int64_t limit, const std::int64_t* offsets,
                  std::int32_t* distances, std::int64_t* ids) {
    const std::int64_t bins = 8 * std::int64_t{pass.codes.bytes} + 1;
    run_scan("cells: write", pass.over(cut), cut.warps,
             static_cast<std::size_t>(counter_bytes(pass.codes.bytes, cut.warps, cut.tile)), pass.stream,
             WriteRanked{bounds, cells, cells_of_query, bins, limit, offsets, distances, ids});
}

}  // namespace

void search(Codes codes, Codes queries, const std::uint8_t* filter, const SearchPlan& plan, void* workspace,
            std::int32_t* distances, std::int64_t* ids, DmthStream stream) {
    const std::int64_t bins = plan.bins();
    for (std::int64_t first = 0; first < queries.rows; first += plan.queries_per_pass) {
        const std::int64_t count = std::min(plan.queries_per_pass, queries.rows - first);
        const Pass pass{rows_of(codes), part_of(queries, first, count), filter, stream};
        std::int32_t* distances_of_pass = distances + first * plan.k;
        std::int64_t* ids_of_pass = ids + first * plan.k;
        Workspace space{static_cast<char*>(workspace)};
        int* bounds = space.take<int>(count);
        int* ceilings = space.take<int>(count);
        auto* counts = space.take<unsigned long long>(count);
        auto* histograms = space.take<unsigned long long>(plan.bound_rows > 0 ? count * bins : 0);
        // Keys are dead once the last stage has written its results: the cells take their place.
        auto* keys = space.take<unsigned long long>(0);
        auto* cells = reinterpret_cast<std::int64_t*>(keys);

        if (!plan.stages.empty()) {
            const SearchState state{bounds, ceilings, counts, keys, plan.capacity, plan.k};
            start_search(state, count, 8 * plan.bytes, stream);
            for (const Stage& stage : plan.stages) {
                collect(pass, stage, state);
                tighten(state, count, stage.end == plan.rows, distances_of_pass, ids_of_pass, stream);
            }
        } else if (plan.bound_rows > 0) {
            count_distances(pass.over(0, plan.bound_rows, plan.bound_cut), plan.bound_cut.warps, histograms,
                            bins, stream);
            bound_by_histogram(histograms, bins, plan.k, bounds, count, stream);
        } else {
            fill_bounds(bounds, 8 * plan.bytes, count, stream);
        }
        const std::int64_t of_query = plan.cells_of_query();
        count_cells(pass, plan.count_cut, bounds, cells, of_query);
        sum_cells(cells, of_query, bins, plan.count_cut.splits, plan.k, bounds, nullptr, count, stream);
        write_ranked(pass, plan.count_cut, bounds, cells, of_query, plan.k, nullptr, distances_of_pass,
                     ids_of_pass);
    }
}

namespace {

struct RangeSpace {
    int* bounds;
    std::int64_t* cells;
};

RangeSpace range_space(void* workspace, std::int64_t queries) {
    Workspace space{static_cast<char*>(workspace)};
    int* bounds = space.take<int>(queries);
    return {bounds, space.take<std::int64_t>(0)};
}

void count_pass(const Pass& pass, std::int32_t radius, const RangePlan& plan, const RangeSpace& space,
                std::int64_t* counts) {
    fill_bounds(space.bounds, radius, pass.queries.count, pass.stream);
    count_cells(pass, plan.cut, space.bounds, space.cells, plan.cells_of_query());
    sum_cells(space.cells, plan.cells_of_query(), plan.bins(), plan.cut.splits, 0, space.bounds, counts,
              pass.queries.count, pass.stream);
}

}  // namespace

void range_count(Codes codes, Codes queries, const std::uint8_t* filter, std::int32_t radius,
                 const RangePlan& plan, void* workspace, std::int64_t* counts, DmthStream stream) {
    for (std::int64_t first = 0; first < queries.rows; first += plan.queries_per_pass) {
        const std::int64_t count = std::min(plan.queries_per_pass, queries.rows - first);
        const Pass pass{rows_of(codes), part_of(queries, first, count), filter, stream};
        count_pass(pass, radius, plan, range_space(workspace, count), counts + first);
    }
}

void range_write(Codes codes, Codes queries, const std::uint8_t* filter, std::int32_t radius,
                 const RangePlan& plan, void* workspace, const std::int64_t* offsets, std::int32_t* distances,
                 std::int64_t* ids, DmthStream stream) {
    for (std::int64_t first = 0; first < queries.rows; first += plan.queries_per_pass) {
        const std::int64_t count = std::min(plan.queries_per_pass, queries.rows - first);
        const Pass pass{rows_of(codes), part_of(queries, first, count), filter, stream};
        const RangeSpace space = range_space(workspace, count);
        // The cells of a single pass are still there; of several only the last one's, so each is counted
        // again.
        if (count < queries.rows) count_pass(pass, radius, plan, space, nullptr);
        write_ranked(pass, plan.cut, space.bounds, space.cells, plan.cells_of_query(),
                     std::numeric_limits<std::int64_t>::max(), offsets + first, distances, ids);
    }
}

}  // namespace dmth_fast::cuda
