#include "tensor.cuh"

#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

// Products of 16 rows between two looks at the sums. Two where they are short: the look costs as much as one.
template <int B>
inline constexpr int kStrips = B <= 128 ? 2 : 1;

template <int B, bool kWhole>
__global__ void __launch_bounds__(kMostThreads, B <= 256 ? 2 : 1)
    tensor_collect_kernel(const Scan scan, const Collect action) {
    constexpr int kStep = kStrips<B> * static_cast<int>(kRowsOfProduct);
    const std::int64_t first_query = static_cast<std::int64_t>(blockIdx.x) * scan.tile;
    const detail::RowRange range =
        detail::range_of(scan, static_cast<std::int64_t>(blockIdx.y) * warps() + warp());
    const int group = lane() / 4, part = lane() % 4;

    const LaneWords<B> lane_words(scan.codes.bytes, part);
    Column<B> column[kProducts];
#pragma unroll
    for (int n = 0; n < kProducts; ++n)
        column[n] = Column<B>(lane_words, scan, first_query + kColumns * n + group);
    int start[kProducts][4];
    if (!any(start_sums<B>(scan, action, first_query, part, start))) return;

    const auto count = static_cast<std::uint32_t>(range.end - range.first);
    if (count == 0) return;
    const LaneRows<B, kWhole> rows(scan.codes, lane_words, range.first, count);
    std::uint32_t next[kStrips<B>][2][kLinks<B>];  // loaded a step ahead of their products
    const auto load = [&](std::uint32_t base) {
#pragma unroll
        for (int s = 0; s < 2 * kStrips<B>; ++s)
            rows.load(base + static_cast<std::uint32_t>(8 * s + group), next[s / 2][s % 2]);
    };
    load(0);
    for (std::uint32_t base = 0; base < count; base += kStep) {
        std::uint32_t row[kStrips<B>][2][kLinks<B>];
#pragma unroll
        for (int s = 0; s < 2 * kStrips<B>; ++s) {
#pragma unroll
            for (int c = 0; c < kLinks<B>; ++c) row[s / 2][s % 2][c] = next[s / 2][s % 2][c];
        }
        load(base + kStep);
        int none[kStrips<B>];  // negative if no sum of the strip is a hit
        int none_at_all = -1;
#pragma unroll
        for (int s = 0; s < kStrips<B>; ++s) {
            none[s] = -1;
#pragma unroll
            for (int n = 0; n < kProducts; ++n) {
                int sums[4];
                multiply<B>(sums, start[n], row[s][0], row[s][1], column[n]);
                none[s] &= sums[0] & sums[1] & sums[2] & sums[3];
            }
            none_at_all &= none[s];
        }
        if (!any(none_at_all >= 0)) continue;
        // Rare: the products once more, for their signs.
#pragma unroll
        for (int s = 0; s < kStrips<B>; ++s) {
            if (!any(none[s] >= 0)) continue;
            std::uint32_t signs = 0;
#pragma unroll
            for (int n = 0; n < kProducts; ++n) {
                int sums[4];
                multiply<B>(sums, start[n], row[s][0], row[s][1], column[n]);
                add_signs(signs, sums);
            }
            keep_hits(scan, action, first_query, range.first + base + 16 * s + group, range.end, signs);
            __syncwarp();  // the next product needs all lanes together
        }
    }
}

}  // namespace

void run_tensor_collect(const Scan& scan, int warps_of_block, cudaStream_t stream, const Collect& action) {
    with_product(scan.codes.bytes, [&](auto bits) {
        constexpr int B = decltype(bits)::value;
        launch("search: collect by tensor cores",
               scan.codes.unit >= 4 ? tensor_collect_kernel<B, true> : tensor_collect_kernel<B, false>,
               grid_of(scan, warps_of_block), static_cast<unsigned>(32 * warps_of_block), 0, stream, scan,
               action);
    });
}

}  // namespace dmth_fast::cuda
