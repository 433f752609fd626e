#include "warpgroup.cuh"

#include "tensor_product.cuh"

namespace dmth_fast::cuda {
namespace {

constexpr std::int64_t kRowsOfGroup = 4 * kRowsOfProduct;

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

// C: links of the chain, 128 bits of code each.
template <int C>
__global__ void __launch_bounds__(kMostThreads)
    warpgroup_collect_kernel(const Scan scan, const Collect action) {
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
    int start[kProducts][2];
    const bool wanted = start_sums<C>(scan, action, first_query, part, start);
    publish_staged();
    if (!any(wanted)) return;  // the same in all warps: they hold the same queries

    const std::int64_t place = kRowsOfProduct * (warp() % 4) + group;  // of this lane's first row
    std::uint32_t next[C], next8[C];  // loaded a step ahead of their products
    load_pair<C>(scan, range.first + place, range.end, part, next, next8);
    for (std::int64_t base = range.first; base < range.end; base += kRowsOfGroup) {
        const std::int64_t low = base + place;
        std::uint32_t row[C], row8[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            row[c] = next[c];
            row8[c] = next8[c];
        }
        load_pair<C>(scan, low + kRowsOfGroup, range.end, part, next, next8);
        int sums[kProducts][4];
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[n][i] = start[n][i & 1];
        }
#pragma unroll
        for (int c = 0; c < C; ++c) multiply_group(sums, row[c], row8[c], staged + c * kLinkWords);
        int none[4] = {-1, -1, -1, -1};  // negative as long as no sum is a hit; four, that none waits long
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) none[i] &= sums[n][i];
        }
        if (!any((none[0] & none[1] & none[2] & none[3]) >= 0)) continue;
#pragma unroll
        for (int n = 0; n < kProducts; ++n) {
            keep_hits<C>(scan, action, first_query + kColumns * n + 2 * part, low, range.end, start[n],
                         sums[n]);
        }
        __syncwarp();  // the next product needs all lanes together
    }
}

}  // namespace

void run_warpgroup_collect(const Scan& scan, int groups, cudaStream_t stream, const Collect& action) {
    with_chain(scan.codes.bytes, [&](auto links) {
        launch("search: collect by warpgroups", warpgroup_collect_kernel<decltype(links)::value>,
               grid_of(scan, groups), static_cast<unsigned>(4 * 32 * groups), 0, stream, scan, action);
    });
}

}  // namespace dmth_fast::cuda
