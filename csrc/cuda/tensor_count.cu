// Histograms of distances by 1-bit tensor cores, counted where the sums come out.
//
// Contract. CountAll of actions.cuh, for codes of at most 64 bytes; a tile of 64 queries, or of 16 where its
// counters would not fit. The products are those of tensor.cuh, from accumulators that start at 0: a sum is
// the number of equal bits, B - distance. No distance is written anywhere but into its counter.
//
// Roofline. Counting binds, not the product: one shared-memory addition a pair, about 13 instructions of a
// warp for 32 pairs of codes of 64 bits with class ids by the machine code for 9.0: 10 pairs a clock and
// multiprocessor, 2.6e12 a second on 132 of them at 1.98 GHz, if no two lanes meet. The fragment spreads the
// 32 lanes of an addition over 4 queries, 8 rows each, where the popcount scan has 32 rows of one query:
// fewer of them meet at one distance, and neighbouring queries, 8 W + 1 counters apart, lie in different
// banks.
#include "tensor.cuh"
#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

// P: products that cover a tile.
template <int B, int P, bool kWhole, class Relevance>
__global__ void __launch_bounds__(kMostThreads, B <= 256 ? 2 : 1)
    tensor_count_kernel(const Scan scan, const CountAll<Relevance> action) {
    const Place at = detail::place(scan);
    const detail::RowRange range = detail::range_of(scan, at.split);
    const int group = lane() / 4, part = lane() % 4;
    action.begin(scan, at);

    const LaneWords<B> lane_words(scan.codes.bytes, part);
    Column<B> column[P];
#pragma unroll
    for (int n = 0; n < P; ++n)
        column[n] = Column<B>(lane_words, scan, at.first_query + kColumns * n + group);
    const std::uint8_t* data = lane_words.template address<kWhole>(scan.codes.data);
    const int zeros[4] = {};
    for (std::int64_t base = range.first; base < range.end; base += kRowsOfProduct) {
        const std::int64_t low = base + group, high = low + 8;
        const bool here[2] = {low < range.end, high < range.end};
        const std::int64_t place[2] = {here[0] ? low : range.end - 1, here[1] ? high : range.end - 1};
        std::uint32_t row[kLinks<B>], row8[kLinks<B>];
        lane_words.template load<kWhole>(scan.codes, data + place[0] * scan.codes.bytes, row);
        lane_words.template load<kWhole>(scan.codes, data + place[1] * scan.codes.bytes, row8);
        const auto context = action.context(low, here[0]), context8 = action.context(high, here[1]);
#pragma unroll
        for (int n = 0; n < P; ++n) {
            int sums[4];
            multiply<B>(sums, zeros, row, row8, column[n]);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int q = kColumns * n + 2 * part + (i & 1);
                action.visit(at, q, i < 2 ? low : high, B - sums[i], here[i / 2] && q < at.queries,
                             i < 2 ? context : context8);
            }
            __syncwarp();  // the next product needs all lanes together
        }
    }
    action.end(scan, at);
}

}  // namespace

template <class Relevance>
void run_tensor_count(const Scan& scan, int warps_of_block, std::size_t shared, cudaStream_t stream,
                      const CountAll<Relevance>& action) {
    with_product(scan.codes.bytes, [&](auto bits) {
        constexpr int B = decltype(bits)::value;
        constexpr int kMany = kTensorTile / kColumns, kFew = kTensorCountTile / kColumns;
        const bool whole = scan.codes.unit >= 4, many = scan.tile == kTensorTile;
        const auto kernel = whole ? (many ? tensor_count_kernel<B, kMany, true, Relevance>
                                          : tensor_count_kernel<B, kFew, true, Relevance>)
                                  : (many ? tensor_count_kernel<B, kMany, false, Relevance>
                                          : tensor_count_kernel<B, kFew, false, Relevance>);
        launch("histograms by tensor cores", kernel, grid_of(scan, warps_of_block),
               static_cast<unsigned>(32 * warps_of_block), shared, stream, scan, action);
    });
}

template void run_tensor_count(const Scan&, int, std::size_t, cudaStream_t, const CountAll<SameClass>&);
template void run_tensor_count(const Scan&, int, std::size_t, cudaStream_t, const CountAll<SharedLabel>&);

}  // namespace dmth_fast::cuda
