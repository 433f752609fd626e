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

void clear_counters(const Scan& scan, unsigned long long* counters, std::int64_t bins, cudaStream_t stream) {
    const auto bytes = static_cast<std::size_t>(scan.queries.count * bins * 8);
    check(cudaMemsetAsync(counters, 0, bytes, stream), "histograms: clear");
}

template <class Relevance>
void count_relevant(Codes codes, Codes queries, const Relevance& relevance, std::int64_t* all,
                    std::int64_t* relevant, Method method, const Machine& machine, cudaStream_t stream) {
    const std::int64_t bins = 8 * codes.bytes + 1;
    const std::int64_t of_query = CountAll<Relevance>::shared_of_query(bins);
    const CountPlan plan =
        plan_histograms(codes.rows, queries.rows, static_cast<int>(codes.bytes), of_query, method, machine);
    const Scan scan = whole(codes, queries, plan.cut);
    const CountAll<Relevance> action{relevance, reinterpret_cast<unsigned long long*>(all),
                                     reinterpret_cast<unsigned long long*>(relevant), bins};
    clear_counters(scan, action.all, bins, stream);
    clear_counters(scan, action.relevant, bins, stream);
    const auto shared = static_cast<std::size_t>(plan.cut.tile * of_query);
    if (plan.method == Method::kPopcount) {
        run_scan("histograms", scan, plan.cut.warps, shared, stream, action);
    } else {
        run_tensor_count(scan, plan.cut.warps, shared, stream, action);
    }
}

}  // namespace

void count_distances(const Scan& scan, int warps, unsigned long long* counters, std::int64_t bins,
                     cudaStream_t stream) {
    clear_counters(scan, counters, bins, stream);
    const auto shared = static_cast<std::size_t>(scan.tile * CountAll<NoLabels>::shared_of_query(bins));
    run_scan("search: distances", scan, warps, shared, stream,
             CountAll<NoLabels>{{}, counters, nullptr, bins});
}

void hamming_distances(Codes codes, Codes queries, std::int32_t* out, const Machine& machine,
                       DmthStream stream) {
    const Cut cut = plan_scan(codes.rows, queries.rows, 0, machine);
    run_scan("hamming_distances", whole(codes, queries, cut), cut.warps, 0, stream,
             WriteDistances{out, codes.rows});
}

void histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t* all,
                std::int64_t* relevant, Method method, const Machine& machine, DmthStream stream) {
    if (query_labels.classes != nullptr) {
        const SameClass same{code_labels.classes, query_labels.classes};
        return count_relevant(codes, queries, same, all, relevant, method, machine, stream);
    }
    const SharedLabel shared{code_labels.masks, query_labels.masks, query_labels.words};
    count_relevant(codes, queries, shared, all, relevant, method, machine, stream);
}

}  // namespace dmth_fast::cuda
