// Products of bits and nothing beside them, for benchmarks: what the tensor cores of a device can do. The
// rate is not published for bits, and the scans of tensor.cuh and warpgroup.cuh are judged by it.
#include "launches.cuh"
#include "tensor_product.cuh"
#include "warpgroup.cuh"

namespace dmth_fast::cuda {
namespace {

constexpr int kBlocks = 8;                       // of each multiprocessor
constexpr std::uint32_t kPattern = 0x9c3a5a17u;  // 16 ones: a sum grows by half of its bits

template <int B>
__global__ void __launch_bounds__(kMostThreads) products_kernel(std::int64_t repeats, std::int32_t* out) {
    const std::uint32_t row[1] = {kPattern};
    Column<B> column;
    column.words[0] = kPattern;
    if constexpr (B == 128) column.complement = own_copy(~kPattern);
    int sums[kProducts][4] = {};
    for (std::int64_t i = 0; i < repeats; ++i) {
#pragma unroll
        for (int n = 0; n < kProducts; ++n) multiply<B>(sums[n], sums[n], row, row, column);
    }
    int total = 0;
#pragma unroll
    for (int n = 0; n < kProducts; ++n) total += sums[n][0] + sums[n][1] + sums[n][2] + sums[n][3];
    out[static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x] = total;
}

}  // namespace

std::int64_t product_threads(const Machine& machine) {
    return std::int64_t{machine.multiprocessors} * kBlocks * kMostThreads;
}

void repeat_products(Method method, int bits, std::int64_t repeats, std::int32_t* out, const Machine& machine,
                     DmthStream stream) {
    const dim3 grid(static_cast<unsigned>(machine.multiprocessors * kBlocks));
    if (method == Method::kTensor && bits == 128) {
        launch("products", products_kernel<64>, grid, kMostThreads, 0, stream, repeats, out);
    } else if (method == Method::kTensor && bits == 256) {
        launch("products", products_kernel<128>, grid, kMostThreads, 0, stream, repeats, out);
    } else if (method == Method::kWarpgroup && bits == 256 && machine.warpgroup) {
        run_warpgroup_products(grid, kMostThreads, repeats, kPattern, out, stream);
    } else {
        throw std::invalid_argument(
            "products are of 128 or 256 bits by method tensor, and of 256 by method warpgroup where the "
            "device "
            "has it");
    }
}

}  // namespace dmth_fast::cuda
