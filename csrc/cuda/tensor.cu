#include "tensor.cuh"

#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

constexpr int kProducts = kTensorTile / kColumns;  // products that cover a tile
constexpr int kNothing = -1;                       // a bound that no distance meets

// C: links of the chain, 128 bits of code each.
template <int C>
__global__ void __launch_bounds__(kMostThreads) tensor_collect_kernel(const Scan scan, const Collect action) {
    const std::int64_t first_query = static_cast<std::int64_t>(blockIdx.x) * scan.tile;
    const detail::RowRange range =
        detail::range_of(scan, static_cast<std::int64_t>(blockIdx.y) * warps() + warp());
    const int group = lane() / 4, part = lane() % 4;

    // This lane's words of query 8 n + group, and the start of the sums of queries 8 n + 2 part and the next.
    std::uint32_t column[kProducts][C];
    int start[kProducts][2];
    bool wanted = false;
#pragma unroll
    for (int n = 0; n < kProducts; ++n) {
        const std::int64_t query = first_query + kColumns * n + group;
        const std::uint8_t* words = scan.queries.data + query * scan.queries.bytes;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            column[n][c] = query < scan.queries.count ? load_word(scan.queries, words, 4 * c + part) : 0;
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const std::int64_t owner = first_query + kColumns * n + 2 * part + i;
            const int bound = owner < scan.queries.count ? action.bound(owner) : kNothing;
            start[n][i] = bound < 0 ? kNothing - 128 * C : bound - 128 * C;
            wanted |= bound >= 0;
        }
    }
    if (!any(wanted)) return;

    // The words of this lane's two rows, loaded a step ahead of their products.
    std::uint32_t next[C], next8[C];
    const auto load = [&](std::int64_t base) {
        const std::uint8_t* low = scan.codes.data + (base + group) * scan.codes.bytes;
        const std::uint8_t* high = low + 8 * static_cast<std::int64_t>(scan.codes.bytes);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            next[c] = base + group < range.end ? load_word(scan.codes, low, 4 * c + part) : 0;
            next8[c] = base + group + 8 < range.end ? load_word(scan.codes, high, 4 * c + part) : 0;
        }
    };
    load(range.first);
    for (std::int64_t base = range.first; base < range.end; base += kRowsOfProduct) {
        const std::int64_t low = base + group, high = low + 8;
        std::uint32_t row[C], row8[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            row[c] = next[c];
            row8[c] = next8[c];
        }
        load(base + kRowsOfProduct);
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
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const std::int64_t index = i < 2 ? low : high;
                if (sums[i] < 0 || index >= range.end || !allowed(scan.filter, index)) continue;
                const std::int64_t query = first_query + kColumns * n + 2 * part + (i & 1);
                const int distance = start[n][i & 1] + 128 * C - sums[i];
                keep_candidate(action, query, distance, index);
            }
            __syncwarp();  // the next product needs all lanes together
        }
    }
}

}  // namespace

void run_tensor_collect(const Scan& scan, int warps_of_block, cudaStream_t stream, const Collect& action) {
    const auto tiles = static_cast<unsigned>((scan.queries.count + scan.tile - 1) / scan.tile);
    const auto row_blocks = static_cast<unsigned>((scan.splits + warps_of_block - 1) / warps_of_block);
    const dim3 grid(tiles, row_blocks);
    const auto threads = static_cast<unsigned>(32 * warps_of_block);
    const char* name = "search: collect by tensor cores";
    if (scan.codes.bytes <= 16) {
        launch(name, tensor_collect_kernel<1>, grid, threads, 0, stream, scan, action);
    } else if (scan.codes.bytes <= 32) {
        launch(name, tensor_collect_kernel<2>, grid, threads, 0, stream, scan, action);
    } else if (scan.codes.bytes <= 64) {
        launch(name, tensor_collect_kernel<4>, grid, threads, 0, stream, scan, action);
    } else {
        throw std::invalid_argument("tensor cores take codes of at most 512 bits");
    }
}

}  // namespace dmth_fast::cuda
