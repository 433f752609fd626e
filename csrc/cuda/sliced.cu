#include "sliced.cuh"

namespace dmth_fast::cuda {
namespace {

constexpr int kPatterns = 8;
constexpr std::int64_t kRowsOfStep = 1024;  // 32 lanes of 32 rows; row 32 b + lane is bit b of a lane's words

// A query of a tile as the kernel reads it. Offsets are of patterns in a table, in words, two in each word.
template <int W>
struct SlicedQuery {
    static constexpr int kItems = 16 * W;
    static constexpr int kLevels = W == 1 ? 4 : 5;  // counters that the items of weight 1 fill
    std::uint32_t offsets[kItems / 2];
    std::uint32_t start[kLevels + 1];  // bits of 2^M - 1 - t, each as a mask
    std::uint32_t words[W];
    int bound;
};

// Visits the items (triples of equal weight) of N planes, and returns their parity.
template <int N, int Item, class Visit>
__device__ __forceinline__ std::uint32_t reduce(const std::uint32_t (&planes)[N], const Visit& visit) {
    if constexpr (N == 1) {
        return planes[0];
    } else if constexpr (N == 2) {
        visit(Item, planes[0], planes[1], 0u);
        return planes[0] ^ planes[1];
    } else {
        constexpr int kTriples = N / 3, kLeft = N % 3;
        std::uint32_t next[kTriples + kLeft];
#pragma unroll
        for (int i = 0; i < kTriples; ++i) {
            visit(Item + i, planes[3 * i], planes[3 * i + 1], planes[3 * i + 2]);
            next[i] = planes[3 * i] ^ planes[3 * i + 1] ^ planes[3 * i + 2];
        }
#pragma unroll
        for (int i = 0; i < kLeft; ++i) next[kTriples + i] = planes[3 * kTriples + i];
        return reduce<kTriples + kLeft, Item + kTriples>(next, visit);
    }
}

// Adds 2^(Level + 1) items from `first` on to the counters; returns the carry out of counter `Level`.
template <int Level, class Item>
__device__ __forceinline__ std::uint32_t add_items(std::uint32_t* counters, int first, const Item& item) {
    std::uint32_t a, b;
    if constexpr (Level == 0) {
        a = item(first);
        b = item(first + 1);
    } else {
        a = add_items<Level - 1>(counters, first, item);
        b = add_items<Level - 1>(counters, first + (1 << Level), item);
    }
    const std::uint32_t c = counters[Level];
    counters[Level] = a ^ b ^ c;
    return majority(a, b, c);
}

// Bit i of word j and bit j of word i change places.
__device__ __forceinline__ void transpose(std::uint32_t (&words)[32]) {
    std::uint32_t mask = 0x0000ffffu;
#pragma unroll
    for (int gap = 16; gap > 0; gap /= 2) {
#pragma unroll
        for (int i = 0; i < 32; ++i) {
            if ((i & gap) == 0) {
                const std::uint32_t swap = ((words[i] >> gap) ^ words[i + gap]) & mask;
                words[i] ^= swap << gap;
                words[i + gap] ^= swap;
            }
        }
        mask ^= mask << (gap / 2);
    }
}

template <int W>
__device__ void stage(const Scan& scan, const Collect& action, std::int64_t first_query,
                      SlicedQuery<W>* tile) {
    for (int q = static_cast<int>(threadIdx.x); q < scan.tile; q += static_cast<int>(blockDim.x)) {
        SlicedQuery<W>& out = tile[q];
        const std::int64_t query = first_query + q;
        out.bound = query < scan.queries.count ? action.bound(query) : -1;
        if (out.bound < 0) continue;
        const std::uint8_t* row = scan.queries.data + query * scan.queries.bytes;
        std::uint32_t bits[32 * W];
#pragma unroll
        for (int w = 0; w < W; ++w) {
            out.words[w] = load_word(scan.queries, row, w);
#pragma unroll
            for (int j = 0; j < 32; ++j) bits[32 * w + j] = out.words[w] >> j & 1u;
        }
#pragma unroll
        for (int i = 0; i < SlicedQuery<W>::kItems / 2; ++i) out.offsets[i] = 0;
        reduce<32 * W, 0>(bits, [&](int item, std::uint32_t x, std::uint32_t y, std::uint32_t z) {
            out.offsets[item / 2] |= (x | y << 1 | z << 2) * 32u << (16 * (item & 1));
        });
        constexpr int kBits = SlicedQuery<W>::kLevels + 1;
        const int start = (1 << kBits) - 1 - out.bound / 2;
#pragma unroll
        for (int b = 0; b < kBits; ++b) out.start[b] = (start >> b & 1) != 0 ? ~0u : 0u;
    }
    __syncthreads();
}

template <int W>
__global__ void __launch_bounds__(kMostThreads) sliced_collect_kernel(const Scan scan, const Collect action) {
    using Query = SlicedQuery<W>;
    const std::int64_t first_query = static_cast<std::int64_t>(blockIdx.x) * scan.tile;
    auto* tile = reinterpret_cast<Query*>(dynamic_shared());
    // This lane's column of its warp's table: word 32 (8 item + pattern) + lane. No other lane touches it.
    std::uint32_t* table = reinterpret_cast<std::uint32_t*>(tile + scan.tile) +
                           warp() * (Query::kItems * kPatterns * 32) + lane();
    stage<W>(scan, action, first_query, tile);
    const detail::RowRange range =
        detail::range_of(scan, static_cast<std::int64_t>(blockIdx.y) * warps() + warp());

    for (std::int64_t base = range.first; base < range.end; base += kRowsOfStep) {
        std::uint32_t planes[32 * W];
#pragma unroll
        for (int w = 0; w < W; ++w) {
            std::uint32_t words[32];
#pragma unroll
            for (int b = 0; b < 32; ++b) {
                const std::int64_t index = base + 32 * b + lane();
                const std::uint8_t* row = scan.codes.data + index * scan.codes.bytes;
                words[b] = index < range.end ? load_word(scan.codes, row, w) : 0u;
            }
            transpose(words);
#pragma unroll
            for (int j = 0; j < 32; ++j) planes[32 * w + j] = words[j];
        }
        reduce<32 * W, 0>(planes, [&](int item, std::uint32_t a, std::uint32_t b, std::uint32_t c) {
#pragma unroll
            for (int p = 0; p < kPatterns; ++p) {
                table[32 * (kPatterns * item + p)] =
                    majority((p & 1) != 0 ? ~a : a, (p & 2) != 0 ? ~b : b, (p & 4) != 0 ? ~c : c);
            }
        });
        const std::int64_t left = range.end - base - lane();  // rows of this lane: every 32nd of these
        const std::uint32_t here = left >= kRowsOfStep ? ~0u : left <= 0 ? 0u : ~0u >> (31 - (left - 1) / 32);

        for (int q = 0; q < scan.tile; ++q) {
            const Query& query = tile[q];
            if (query.bound < 0) continue;
            std::uint32_t counters[Query::kLevels];
#pragma unroll
            for (int level = 0; level < Query::kLevels; ++level) counters[level] = query.start[level];
            const auto item = [&](int i) {
                const std::uint32_t pair = query.offsets[i / 2];
                return table[32 * kPatterns * i + ((i & 1) != 0 ? pair >> 16 : pair & 0xffffu)];
            };
            const std::uint32_t carry = add_items<Query::kLevels - 1>(counters, 0, item);
            std::uint32_t hits = ~(carry & query.start[Query::kLevels]) & here;
            while (hits != 0) {
                const int b = __ffs(static_cast<int>(hits)) - 1;
                hits &= hits - 1;
                const std::int64_t index = base + 32 * b + lane();
                std::uint32_t row[W];
                load_row<W>(scan.codes, index, row);
                const int d = distance<W>(row, query.words);
                if (d > query.bound || !allowed(scan.filter, index)) continue;
                const std::int64_t owner = first_query + q;
                const unsigned long long place = atomicAdd(action.counts + owner, 1ull);
                if (place < static_cast<unsigned long long>(action.capacity)) {
                    action.keys[owner * action.capacity + static_cast<std::int64_t>(place)] =
                        key_of(d, index);
                }
            }
            __syncwarp();
        }
    }
}

template <int W>
void run(const Scan& scan, int warps_of_block, cudaStream_t stream, const Collect& action) {
    const std::size_t shared =
        static_cast<std::size_t>(scan.tile) * sizeof(SlicedQuery<W>) +
        static_cast<std::size_t>(warps_of_block) * SlicedQuery<W>::kItems * kPatterns * 128;
    launch("search: collect by bit slices", sliced_collect_kernel<W>, grid_of(scan, warps_of_block),
           static_cast<unsigned>(32 * warps_of_block), shared, stream, scan, action);
}

}  // namespace

void run_sliced_collect(const Scan& scan, int warps_of_block, cudaStream_t stream, const Collect& action) {
    if (scan.codes.bytes <= 4) return run<1>(scan, warps_of_block, stream, action);
    run<2>(scan, warps_of_block, stream, action);
}

}  // namespace dmth_fast::cuda
