// Verbs that look at every pair without memory between blocks: all distances, and the histograms of
// evaluation.
#include "launches.cuh"
#include "tensor.cuh"

namespace dmth_fast::cuda {
namespace {

Scan whole(Codes codes, Codes queries, const Cut& cut) {
    return {rows_of(codes), rows_of(queries),   nullptr,    0,
            codes.rows,     cut.rows_per_split, cut.splits, cut.tile};
}

void clear_counters(const Scan& scan, unsigned long long* all, unsigned long long* relevant,
                    std::int64_t bins, cudaStream_t stream) {
    const auto bytes = static_cast<std::size_t>(scan.queries.count * bins * 8);
    check(cudaMemsetAsync(all, 0, bytes, stream), "histograms: clear");
    if (relevant != nullptr) check(cudaMemsetAsync(relevant, 0, bytes, stream), "histograms: clear");
}

}  // namespace

void count_distances(const Scan& scan, int warps, unsigned long long* all, unsigned long long* relevant,
                     Labels row_labels, Labels query_labels, std::int64_t bins, cudaStream_t stream) {
    clear_counters(scan, all, relevant, bins, stream);
    const auto shared = static_cast<std::size_t>(scan.tile * bins * (relevant != nullptr ? 8 : 4));
    run_scan("histograms", scan, warps, shared, stream,
             CountAll{all, relevant, row_labels, query_labels, bins});
}

void hamming_distances(Codes codes, Codes queries, std::int32_t* out, const Machine& machine,
                       DmthStream stream) {
    const Cut cut = plan_scan(codes.rows, queries.rows, 0, machine);
    run_scan("hamming_distances", whole(codes, queries, cut), cut.warps, 0, stream,
             WriteDistances{out, codes.rows});
}

void histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t* all,
                std::int64_t* relevant, Method method, const Machine& machine, DmthStream stream) {
    const std::int64_t bins = 8 * codes.bytes + 1;
    const CountPlan plan =
        plan_histograms(codes.rows, queries.rows, static_cast<int>(codes.bytes), bins * 8, method, machine);
    const Scan scan = whole(codes, queries, plan.cut);
    auto* of_all = reinterpret_cast<unsigned long long*>(all);
    auto* of_relevant = reinterpret_cast<unsigned long long*>(relevant);
    if (plan.method == Method::kPopcount) {
        return count_distances(scan, plan.cut.warps, of_all, of_relevant, code_labels, query_labels, bins,
                               stream);
    }
    clear_counters(scan, of_all, of_relevant, bins, stream);
    run_tensor_count(scan, plan.cut.warps, static_cast<std::size_t>(plan.cut.tile * bins * 8), stream,
                     CountAll{of_all, of_relevant, code_labels, query_labels, bins});
}

}  // namespace dmth_fast::cuda
