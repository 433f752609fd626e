// Histograms of distances by 1-bit tensor cores, counted where the sums come out.
//
// Contract. CountAll of actions.cuh, for codes of at most 64 bytes; a tile of 64 queries, or of 16 where its
// counters would not fit. The products are those of tensor.cuh, from accumulators that start at 0: a sum is
// the number of equal bits, 128 C - distance. No distance is written anywhere but into its counter.
//
// Roofline. Counting binds, not the product: one shared-memory addition a pair (two where it is relevant).
// The fragment spreads the 32 lanes of an addition over 4 queries, 8 rows each, where the popcount scan has
// 32 rows of one query: fewer of them meet at one distance, and neighbouring queries, 8 W + 1 counters apart,
// lie in different banks.
#include "tensor.cuh"
#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

// C: links of the chain, 128 bits of code each. P: products that cover a tile.
template <int C, int P>
__global__ void __launch_bounds__(kMostThreads) tensor_count_kernel(const Scan scan, const CountAll action) {
    const Place at = detail::place(scan);
    const detail::RowRange range = detail::range_of(scan, at.split);
    const int group = lane() / 4, part = lane() % 4;
    action.begin(scan, at);

    std::uint32_t column[P][C];  // this lane's words of query 8 n + group
#pragma unroll
    for (int n = 0; n < P; ++n) {
        const int q = kColumns * n + group;
        const std::uint8_t* words = scan.queries.data + (at.first_query + q) * scan.queries.bytes;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            column[n][c] = q < at.queries ? load_word(scan.queries, words, 4 * c + part) : 0;
        }
    }
    for (std::int64_t base = range.first; base < range.end; base += kRowsOfProduct) {
        const std::int64_t low = base + group, high = low + 8;
        const bool here[2] = {low < range.end, high < range.end};
        std::uint32_t row[C], row8[C];
        load_pair<C>(scan, low, range.end, part, row, row8);
        const std::int64_t context[2] = {action.context(low, here[0]), action.context(high, here[1])};
#pragma unroll
        for (int n = 0; n < P; ++n) {
            int sums[4] = {};
#pragma unroll
            for (int c = 0; c < C; ++c) multiply_bits(sums, row[c], row8[c], column[n][c]);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int q = kColumns * n + 2 * part + (i & 1);
                action.visit(at, q, i < 2 ? low : high, 128 * C - sums[i], here[i / 2] && q < at.queries,
                             context[i / 2]);
            }
            __syncwarp();  // the next product needs all lanes together
        }
    }
    action.end(scan, at);
}

}  // namespace

void run_tensor_count(const Scan& scan, int warps_of_block, std::size_t shared, cudaStream_t stream,
                      const CountAll& action) {
    with_chain(scan.codes.bytes, [&](auto links) {
        constexpr int C = decltype(links)::value;
        const auto kernel = scan.tile == kTensorTile ? tensor_count_kernel<C, kTensorTile / kColumns>
                                                     : tensor_count_kernel<C, kTensorCountTile / kColumns>;
        launch("histograms by tensor cores", kernel, grid_of(scan, warps_of_block),
               static_cast<unsigned>(32 * warps_of_block), shared, stream, scan, action);
    });
}

}  // namespace dmth_fast::cuda
