#include "warpgroup.cuh"

#include <algorithm>

#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

constexpr std::uint32_t kRowsOfGroup = 4 * kRowsOfProduct;

// The staged queries of one link of a chain: for each 8 of them their 4 words each, then the complements.
// These are the core matrices of 8 columns and 16 bytes that the instruction reads.
constexpr int kCoreWords = 8 * 4;
constexpr int kLinkWords = kProducts * 2 * kCoreWords;

#if !defined(DMTH_FAST_EMULATE) && (!defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL))
#define DMTH_FAST_HAS_WGMMA
// Shared memory for the instruction: address, distance of core matrices along the bits, and along the
// queries.
__device__ __forceinline__ std::uint64_t descriptor_of(const std::uint32_t* staged) {
    const auto address = static_cast<std::uint64_t>(__cvta_generic_to_shared(staged));
    const std::uint64_t along_bits = 4 * kCoreWords, along_queries = 8 * kCoreWords;
    return (address >> 4 & 0x3fff) | (along_bits >> 4) << 16 | (along_queries >> 4) << 32;
}
#endif

// sums += popcount(a & b) of the warpgroup's 64 rows, 16 a warp, and 64 queries; fragments as in
// multiply_bits, `staged` in the place of its column.
__device__ __forceinline__ void multiply_group(int (&sums)[kProducts][4], std::uint32_t row,
                                               std::uint32_t row8, const std::uint32_t* staged) {
#ifdef DMTH_FAST_EMULATE
    for (int n = 0; n < kProducts; ++n) {
        const std::uint32_t* core = staged + 2 * n * kCoreWords;
        multiply_words(sums[n], {row, row8, ~row, ~row8, core[lane()], core[kCoreWords + lane()]});
    }
#elif defined(DMTH_FAST_HAS_WGMMA)
    // One statement: no register of it may be touched before the product has been waited for.
    asm volatile(
        "{\n"
        ".reg .pred add;\n"
        "setp.ne.b32 add, 1, 0;\n"
        "wgmma.fence.sync.aligned;\n"
        "wgmma.mma_async.sync.aligned.m64n64k256.s32.b1.b1.and.popc "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, add;\n"
        "wgmma.commit_group.sync.aligned;\n"
        "wgmma.wait_group.sync.aligned 0;\n"
        "}\n"
        : "+r"(sums[0][0]), "+r"(sums[0][1]), "+r"(sums[0][2]), "+r"(sums[0][3]), "+r"(sums[1][0]),
          "+r"(sums[1][1]), "+r"(sums[1][2]), "+r"(sums[1][3]), "+r"(sums[2][0]), "+r"(sums[2][1]),
          "+r"(sums[2][2]), "+r"(sums[2][3]), "+r"(sums[3][0]), "+r"(sums[3][1]), "+r"(sums[3][2]),
          "+r"(sums[3][3]), "+r"(sums[4][0]), "+r"(sums[4][1]), "+r"(sums[4][2]), "+r"(sums[4][3]),
          "+r"(sums[5][0]), "+r"(sums[5][1]), "+r"(sums[5][2]), "+r"(sums[5][3]), "+r"(sums[6][0]),
          "+r"(sums[6][1]), "+r"(sums[6][2]), "+r"(sums[6][3]), "+r"(sums[7][0]), "+r"(sums[7][1]),
          "+r"(sums[7][2]), "+r"(sums[7][3])
        : "r"(row), "r"(row8), "r"(~row), "r"(~row8), "l"(descriptor_of(staged))
        : "memory");
#endif
}

// What was staged by ordinary stores becomes visible to the product, which reads it another way.
__device__ __forceinline__ void publish_staged() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    __syncthreads();
}

template <int B, bool kWhole>
__global__ void __launch_bounds__(kMostThreads)
    warpgroup_collect_kernel(const Scan scan, const Collect action) {
    constexpr int C = kLinks<B>;
    __align__(128) __shared__ std::uint32_t staged[C * kLinkWords];
    own_shared(staged);
    const std::int64_t first_query = static_cast<std::int64_t>(blockIdx.x) * scan.tile;
    const detail::RowRange range =
        detail::range_of(scan, static_cast<std::int64_t>(blockIdx.y) * (warps() / 4) + warp() / 4);
    const int group = lane() / 4, part = lane() % 4;

    for (int i = static_cast<int>(threadIdx.x); i < C * kTensorTile * 4; i += static_cast<int>(blockDim.x)) {
        const int q = i / (4 * C), word = i % (4 * C);
        const std::int64_t query = first_query + q;
        const std::uint8_t* words = scan.queries.data + query * scan.queries.bytes;
        const std::uint32_t bits = query < scan.queries.count ? load_word(scan.queries, words, word) : 0;
        std::uint32_t* core =
            staged + word / 4 * kLinkWords + q / kColumns * 2 * kCoreWords + q % kColumns * 4 + word % 4;
        core[0] = bits;
        core[kCoreWords] = ~bits;
    }
    int start[kProducts][4];
    const bool wanted = start_sums<B>(scan, action, first_query, part, start);
    publish_staged();
    if (!any(wanted)) return;  // the same in all warps: they hold the same queries

    const auto count = static_cast<std::uint32_t>(range.end - range.first);
    if (count == 0) return;
    const LaneWords<B> lane_words(scan.codes.bytes, part);
    const LaneRows<B, kWhole> rows(scan.codes, lane_words, range.first, count);
    // Of this lane's first row. Rows are loaded a step ahead of their products.
    const auto place = static_cast<std::uint32_t>(kRowsOfProduct * (warp() % 4) + group);
    std::uint32_t next[2][C];
    rows.load(place, next[0]);
    rows.load(place + 8, next[1]);
    for (std::uint32_t base = 0; base < count; base += kRowsOfGroup) {
        std::uint32_t row[2][C];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int c = 0; c < C; ++c) row[i][c] = next[i][c];
            rows.load(base + kRowsOfGroup + place + static_cast<std::uint32_t>(8 * i), next[i]);
        }
        int sums[kProducts][4];
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[n][i] = start[n][i & 1];
        }
#pragma unroll
        for (int c = 0; c < C; ++c) multiply_group(sums, row[0][c], row[1][c], staged + c * kLinkWords);
        int none[4] = {-1, -1, -1, -1};  // negative as long as no sum is a hit; four, that none waits long
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) none[i] &= sums[n][i];
        }
        if (!any((none[0] & none[1] & none[2] & none[3]) >= 0)) continue;
        std::uint32_t signs = 0;
#pragma unroll
        for (int n = 0; n < kProducts; ++n) add_signs(signs, sums[n]);
        keep_hits(scan, action, first_query, range.first + base + place, range.end, signs);
        __syncwarp();  // the next product needs all lanes together
    }
}

__global__ void __launch_bounds__(kMostThreads)
    warpgroup_products_kernel(std::int64_t repeats, std::uint32_t pattern, std::int32_t* out) {
    __align__(128) __shared__ std::uint32_t staged[kLinkWords];
    own_shared(staged);
    for (int i = static_cast<int>(threadIdx.x); i < kLinkWords; i += static_cast<int>(blockDim.x))
        staged[i] = i / kCoreWords % 2 == 0 ? pattern : ~pattern;
    publish_staged();
    int sums[kProducts][4] = {};
    for (std::int64_t i = 0; i < repeats; ++i) multiply_group(sums, pattern, pattern, staged);
    int total = 0;
#pragma unroll
    for (int n = 0; n < kProducts; ++n) total += sums[n][0] + sums[n][1] + sums[n][2] + sums[n][3];
    out[static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x] = total;
}

template <int B>
void run(const Scan& scan, int groups, cudaStream_t stream, const Collect& action) {
    launch("search: collect by warpgroups",
           scan.codes.unit >= 4 ? warpgroup_collect_kernel<B, true> : warpgroup_collect_kernel<B, false>,
           grid_of(scan, groups), static_cast<unsigned>(4 * 32 * groups), 0, stream, scan, action);
}

}  // namespace

void run_warpgroup_collect(const Scan& scan, int groups, cudaStream_t stream, const Collect& action) {
    with_product(scan.codes.bytes, [&](auto bits) {
        // The instruction takes 256 bits at once, whatever the code.
        run<std::max(decltype(bits)::value, 128)>(scan, groups, stream, action);
    });
}

void run_warpgroup_products(dim3 grid, unsigned threads, std::int64_t repeats, std::uint32_t pattern,
                            std::int32_t* out, cudaStream_t stream) {
    launch("products by warpgroups", warpgroup_products_kernel, grid, threads, 0, stream, repeats, pattern,
           out);
}

}  // namespace dmth_fast::cuda
