#include "selection.cuh"

#include <algorithm>

namespace dmth_fast::cuda {
namespace {

constexpr unsigned kThreads = 256;

unsigned blocks_for(std::int64_t items) {
    return static_cast<unsigned>((items + kThreads - 1) / kThreads);
}

__global__ void __launch_bounds__(kThreads) fill_kernel(int* bounds, int value, std::int64_t count) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) bounds[i] = value;
}

__global__ void __launch_bounds__(kThreads)
    start_kernel(const SearchState state, std::int64_t queries, int bits) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= queries) return;
    state.bounds[i] = bits;
    state.ceilings[i] = bits;
    state.counts[i] = 0;
}

__device__ void sort_shared(unsigned long long* keys, int size) {
    for (int run = 2; run <= size; run *= 2) {
        for (int gap = run / 2; gap > 0; gap /= 2) {
            for (int i = static_cast<int>(threadIdx.x); i < size / 2; i += static_cast<int>(blockDim.x)) {
                const int low = 2 * i - (i & (gap - 1));
                const int high = low + gap;
                const unsigned long long a = keys[low], b = keys[high];
                if ((a > b) == ((low & run) == 0)) {
                    keys[low] = b;
                    keys[high] = a;
                }
            }
            __syncthreads();
        }
    }
}

__global__ void __launch_bounds__(kThreads)
    tighten_kernel(const SearchState state, bool last, std::int32_t* distances, std::int64_t* ids) {
    unsigned long long* sorted = reinterpret_cast<unsigned long long*>(dynamic_shared());
    const std::int64_t query = blockIdx.x;
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    unsigned long long* keys = state.keys + query * state.capacity;
    int bound = state.bounds[query];
    int ceiling = state.ceilings[query];
    const std::int64_t count = static_cast<std::int64_t>(state.counts[query]);
    std::int64_t kept = count;
    __syncthreads();  // the state is read; below it is written
    if (bound >= 0 && count > state.capacity) {
        bound = kFailed;
    } else if (bound >= 0) {
        int size = 2;
        while (size < count) size *= 2;
        for (int i = thread; i < size; i += threads) sorted[i] = i < count ? keys[i] : ~0ull;
        __syncthreads();
        sort_shared(sorted, size);
        kept = count < state.k ? count : state.k;
        for (int i = thread; i < kept; i += threads) keys[i] = sorted[i];
        if (kept == state.k) {
            ceiling = static_cast<int>(sorted[state.k - 1] >> kRowBits);
            bound = ceiling - 1;
        }
        __syncthreads();  // keys written by other threads are read below
    }
    if (last) {
        const bool complete = bound != kFailed && kept == state.k;
        for (int i = thread; complete && i < state.k; i += threads) {
            distances[query * state.k + i] = static_cast<std::int32_t>(keys[i] >> kRowBits);
            ids[query * state.k + i] = static_cast<std::int64_t>(keys[i] & ((1ull << kRowBits) - 1));
        }
        bound = complete ? kFinished : ceiling;
    }
    if (thread == 0) {
        state.bounds[query] = bound;
        state.ceilings[query] = ceiling;
        state.counts[query] = static_cast<unsigned long long>(kept);
    }
}

// The sum of the values of lower threads; `total` is that of the whole block. All threads take part.
__device__ std::int64_t sum_below(std::int64_t value, std::int64_t* warp_sums, std::int64_t& total) {
    std::int64_t inclusive = value;
    for (int offset = 1; offset < 32; offset *= 2) {
        const std::int64_t other = from_lane(inclusive, lane() >= offset ? lane() - offset : lane());
        if (lane() >= offset) inclusive += other;
    }
    if (lane() == 31) warp_sums[warp()] = inclusive;
    __syncthreads();
    std::int64_t before = 0;
    total = 0;
    for (int w = 0; w < warps(); ++w) {
        if (w < warp()) before += warp_sums[w];
        total += warp_sums[w];
    }
    __syncthreads();
    return before + inclusive - value;
}

__global__ void __launch_bounds__(1024)
    sum_cells_kernel(std::int64_t* all_cells, std::int64_t cells_of_query, std::int64_t bins,
                     std::int64_t splits, std::int64_t k, int* bounds, std::int64_t* totals) {
    __shared__ std::int64_t warp_sums[32];
    own_shared(warp_sums);
    const std::int64_t query = blockIdx.x;
    const bool wanted = bounds[query] >= 0;
    __syncthreads();  // bounds are written below
    if (!wanted) return;
    std::int64_t* cells = all_cells + query * cells_of_query;
    const std::int64_t count = bins * splits;
    std::int64_t carry = 0;
    for (std::int64_t first = 0; first < count; first += blockDim.x) {
        const std::int64_t i = first + threadIdx.x;
        std::int64_t total = 0;
        const std::int64_t before = sum_below(i < count ? cells[i] : 0, warp_sums, total);
        if (i < count) cells[i] = carry + before;
        carry += total;
    }
    if (threadIdx.x == 0) {
        cells[count] = carry;
        if (totals != nullptr) totals[query] = carry;
    }
    __syncthreads();
    if (k <= 0) return;
    for (std::int64_t d = threadIdx.x; d < bins; d += blockDim.x) {
        if (cells[d * splits] < k && k <= cells[(d + 1) * splits]) bounds[query] = static_cast<int>(d);
    }
}

__global__ void __launch_bounds__(kThreads)
    bound_by_histogram_kernel(const unsigned long long* histograms, std::int64_t bins, std::int64_t k,
                              int* bounds, std::int64_t queries) {
    const std::int64_t query = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (query >= queries) return;
    std::int64_t seen = 0;
    int bound = 0;
    for (; bound < bins - 1; ++bound) {
        seen += static_cast<std::int64_t>(histograms[query * bins + bound]);
        if (seen >= k) break;
    }
    bounds[query] = bound;
}

}  // namespace

void fill_bounds(int* bounds, int value, std::int64_t queries, cudaStream_t stream) {
    launch("bounds", fill_kernel, dim3(blocks_for(queries)), kThreads, 0, stream, bounds, value, queries);
}

void start_search(const SearchState& state, std::int64_t queries, int bits, cudaStream_t stream) {
    launch("search: start", start_kernel, dim3(blocks_for(queries)), kThreads, 0, stream, state, queries,
           bits);
}

void tighten(const SearchState& state, std::int64_t queries, bool last, std::int32_t* distances,
             std::int64_t* ids, cudaStream_t stream) {
    const auto shared = static_cast<std::size_t>(state.capacity) * sizeof(unsigned long long);
    launch("search: tighten", tighten_kernel, dim3(static_cast<unsigned>(queries)), kThreads, shared, stream,
           state, last, distances, ids);
}

void bound_by_histogram(const unsigned long long* histograms, std::int64_t bins, std::int64_t k, int* bounds,
                        std::int64_t queries, cudaStream_t stream) {
    launch("search: bound", bound_by_histogram_kernel, dim3(blocks_for(queries)), kThreads, 0, stream,
           histograms, bins, k, bounds, queries);
}

void sum_cells(std::int64_t* cells, std::int64_t cells_of_query, std::int64_t bins, std::int64_t splits,
               std::int64_t k, int* bounds, std::int64_t* totals, std::int64_t queries, cudaStream_t stream) {
    const unsigned threads = cells_of_query > 4096 ? 1024 : kThreads;
    launch("cells: sums", sum_cells_kernel, dim3(static_cast<unsigned>(queries)), threads, 0, stream, cells,
           cells_of_query, bins, splits, k, bounds, totals);
}

}  // namespace dmth_fast::cuda
