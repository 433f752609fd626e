#include "tensor.cuh"

#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

// C: links of the chain, 128 bits of code each.
template <int C>
__global__ void __launch_bounds__(kMostThreads) tensor_collect_kernel(const Scan scan, const Collect action) {
    const std::int64_t first_query = static_cast<std::int64_t>(blockIdx.x) * scan.tile;
    const detail::RowRange range =
        detail::range_of(scan, static_cast<std::int64_t>(blockIdx.y) * warps() + warp());
    const int group = lane() / 4, part = lane() % 4;

    std::uint32_t column[kProducts][C];  // this lane's words of query 8 n + group
#pragma unroll
    for (int n = 0; n < kProducts; ++n) {
        const std::int64_t query = first_query + kColumns * n + group;
        const std::uint8_t* words = scan.queries.data + query * scan.queries.bytes;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            column[n][c] = query < scan.queries.count ? load_word(scan.queries, words, 4 * c + part) : 0;
        }
    }
    int start[kProducts][2];
    if (!any(start_sums<C>(scan, action, first_query, part, start))) return;

    std::uint32_t next[C], next8[C];  // loaded a step ahead of their products
    load_pair<C>(scan, range.first + group, range.end, part, next, next8);
    for (std::int64_t base = range.first; base < range.end; base += kRowsOfProduct) {
        const std::int64_t low = base + group;
        std::uint32_t row[C], row8[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            row[c] = next[c];
            row8[c] = next8[c];
        }
        load_pair<C>(scan, low + kRowsOfProduct, range.end, part, next, next8);
        int none = -1;  // stays negative as long as no sum is a hit
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
            int sums[4] = {start[n][0], start[n][1], start[n][0], start[n][1]};
#pragma unroll
            for (int c = 0; c < C; ++c) multiply_bits(sums, row[c], row8[c], column[n][c]);
            none &= sums[0] & sums[1] & sums[2] & sums[3];
        }
        if (!any(none >= 0)) continue;
        // Rare: the products once more, each sum by itself.
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
            int sums[4] = {start[n][0], start[n][1], start[n][0], start[n][1]};
#pragma unroll
            for (int c = 0; c < C; ++c) multiply_bits(sums, row[c], row8[c], column[n][c]);
            keep_hits<C>(scan, action, first_query + kColumns * n + 2 * part, low, range.end, start[n], sums);
            __syncwarp();  // the next product needs all lanes together
        }
    }
}

}  // namespace

void run_tensor_collect(const Scan& scan, int warps_of_block, cudaStream_t stream, const Collect& action) {
    with_chain(scan.codes.bytes, [&](auto links) {
        launch("search: collect by tensor cores", tensor_collect_kernel<decltype(links)::value>,
               grid_of(scan, warps_of_block), static_cast<unsigned>(32 * warps_of_block), 0, stream, scan,
               action);
    });
}

}  // namespace dmth_fast::cuda
