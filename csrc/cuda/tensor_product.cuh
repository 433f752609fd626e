// What the kernels by 1-bit tensor cores share: one product, of 16 rows and 8 queries, what goes into it and
// what is kept of it; see tensor.cuh.
//
// Contract. B is the least of 64, 128, 256 and 512 that holds a code: a row x stands as (x, ~x), 2 B bits, so
// that a sum is B - distance, with padding counted as equal. 64 bits take one mma.m16n8k128, more of them a
// chain of B / 128 mma.m16n8k256 into the same accumulators.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "actions.cuh"

namespace dmth_fast::cuda {

inline constexpr int kColumns = 8;  // queries of one product
inline constexpr std::int64_t kRowsOfProduct = 16;
inline constexpr int kProducts = kTensorTile / kColumns;  // products that cover a tile
inline constexpr int kNothing = -1;                       // a bound that no distance meets

// Links of a chain: words that a lane brings of each row and query.
template <int B>
inline constexpr int kLinks = B <= 128 ? 1 : B / 128;

#ifdef DMTH_FAST_EMULATE
struct FragmentWords {
    std::uint32_t words[6];  // four of the rows, two of the column
};
inline void multiply_words(int (&sums)[4], const FragmentWords& of) {
    emulator::Fiber& self = emulator::self();
    for (int i = 0; i < 6; ++i) self.matrix[i] = of.words[i];
    for (int i = 0; i < 4; ++i) self.sums[i] = sums[i];
    emulator::pause(emulator::Wait::kMatrix);
    for (int i = 0; i < 4; ++i) sums[i] = self.sums[i];
}
#endif

// sums = first + popcount(a & b) of 16 rows and 8 columns of 128 bits. With g = lane / 4 and t = lane % 4 a
// lane brings word t of rows g and g + 8 and of column g, and holds the sums of those rows at columns 2 t and
// 2 t + 1.
__device__ __forceinline__ void multiply_128(int (&sums)[4], const int (&first)[4], std::uint32_t row,
                                             std::uint32_t row8, std::uint32_t column) {
#ifdef DMTH_FAST_EMULATE
    for (int i = 0; i < 4; ++i) sums[i] = first[i];
    multiply_words(sums, {row, row8, 0, 0, column, 0});
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    // Volatile: the rare path computes products again rather than keeping 32 sums of each lane alive for it.
    asm volatile(
        "mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
        : "=r"(sums[0]), "=r"(sums[1]), "=r"(sums[2]), "=r"(sums[3])
        : "r"(row), "r"(row8), "r"(column), "r"(first[0]), "r"(first[1]), "r"(first[2]), "r"(first[3]));
#endif
}

// The same of 256 bits: words t and t + 4, where word t + 4 is the complement of word t.
__device__ __forceinline__ void multiply_256(int (&sums)[4], const int (&first)[4], std::uint32_t row,
                                             std::uint32_t row8, std::uint32_t column,
                                             std::uint32_t complement) {
#ifdef DMTH_FAST_EMULATE
    for (int i = 0; i < 4; ++i) sums[i] = first[i];
    multiply_words(sums, {row, row8, ~row, ~row8, column, complement});
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(sums[0]), "=r"(sums[1]), "=r"(sums[2]), "=r"(sums[3])
        : "r"(row), "r"(row8), "r"(~row), "r"(~row8), "r"(column), "r"(complement), "r"(first[0]),
          "r"(first[1]), "r"(first[2]), "r"(first[3]));
#endif
}

// A lane's words of a row or query: where they are from the start of a row, and what makes them of what is
// read there. Words behind the end of a row are zero (their complements, of 64 bits, ones) and read from its
// start.
template <int B>
struct LaneWords {
    int offset[kLinks<B>];
    std::uint32_t inside[kLinks<B>];
    std::uint32_t flip;

    __device__ LaneWords(int bytes, int part) : flip(B == 64 && part >= 2 ? ~0u : 0u) {
#pragma unroll
        for (int c = 0; c < kLinks<B>; ++c) {
            const int first = B == 64 ? 4 * (part & 1) : 16 * c + 4 * part;
            inside[c] = first < bytes ? ~0u : 0u;
            offset[c] = first < bytes ? first : 0;
        }
    }

    // kWhole: rows are made of words. A single word's offset is then added once, to the address of all rows.
    template <bool kWhole>
    __device__ __forceinline__ const std::uint8_t* address(const std::uint8_t* rows) const {
        return kWhole && kLinks<B> == 1 ? rows + offset[0] : rows;
    }
    template <bool kWhole>
    __device__ __forceinline__ void load(const Rows& rows, const std::uint8_t* row,
                                         std::uint32_t (&words)[kLinks<B>]) const {
#pragma unroll
        for (int c = 0; c < kLinks<B>; ++c) {
            std::uint32_t word;
            if constexpr (kWhole) {
                word = constant_word(kLinks<B> == 1 ? row : row + offset[c]);
            } else {
                word = load_word(rows, row, offset[c] / 4);
            }
            words[c] = (word & inside[c]) ^ flip;
        }
    }

    // Of a query; zero behind the last.
    __device__ __forceinline__ void load_query(const Scan& scan, std::int64_t query,
                                               std::uint32_t (&words)[kLinks<B>]) const {
#pragma unroll
        for (int c = 0; c < kLinks<B>; ++c) words[c] = 0;
        if (query < scan.queries.count)
            load<false>(scan.queries, scan.queries.data + query * scan.queries.bytes, words);
    }
};

// A lane's words of 8 queries. Of 128 bits their complements are kept: an instruction less for each product.
template <int B>
struct Column {
    std::uint32_t words[kLinks<B>];
    std::uint32_t complement;

    Column() = default;
    __device__ __forceinline__ Column(const LaneWords<B>& lane_words, const Scan& scan, std::int64_t query) {
        lane_words.load_query(scan, query, words);
        if constexpr (B == 128) complement = own_copy(~words[0]);
    }
    __device__ __forceinline__ std::uint32_t complement_of(int link) const {
        if constexpr (B == 128) return complement;
        return ~words[link];
    }
};

// sums = first + the equal bits of 16 rows and 8 queries, from what LaneWords loads.
template <int B>
__device__ __forceinline__ void multiply(int (&sums)[4], const int (&first)[4],
                                         const std::uint32_t (&row)[kLinks<B>],
                                         const std::uint32_t (&row8)[kLinks<B>], const Column<B>& column) {
    if constexpr (B == 64) {
        multiply_128(sums, first, row[0], row8[0], column.words[0]);
    } else {
        multiply_256(sums, first, row[0], row8[0], column.words[0], column.complement_of(0));
#pragma unroll
        for (int c = 1; c < kLinks<B>; ++c)
            multiply_256(sums, sums, row[c], row8[c], column.words[c], column.complement_of(c));
    }
}

// The rows of a split as a lane loads them, by their place in it. A split has fewer than 2^31 rows; behind
// its end the last row stands once more, and is not kept.
template <int B, bool kWhole>
struct LaneRows {
    const Rows& codes;
    const LaneWords<B>& words;
    const std::uint8_t* data;
    std::uint32_t bytes;
    std::uint32_t last;

    __device__ LaneRows(const Rows& rows, const LaneWords<B>& lane_words, std::int64_t first,
                        std::uint32_t count)
        : codes(rows),
          words(lane_words),
          data(own_copy(lane_words.template address<kWhole>(rows.data + first * rows.bytes))),
          bytes(static_cast<std::uint32_t>(rows.bytes)),
          last(count - 1) {}

    __device__ __forceinline__ void load(std::uint32_t place, std::uint32_t (&to)[kLinks<B>]) const {
        words.template load<kWhole>(codes, data + std::uint64_t{min(place, last)} * bytes, to);
    }
};

// Where the sums of queries 8 n + 2 part and the next start: a sum that is not negative is a hit. False if no
// query of this lane wants any.
template <int B>
__device__ __forceinline__ bool start_sums(const Scan& scan, const Collect& action, std::int64_t first_query,
                                           int part, int (&start)[kProducts][4]) {
    bool wanted = false;
#pragma unroll
    for (int n = 0; n < kProducts; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const std::int64_t owner = first_query + kColumns * n + 2 * part + i;
            const int bound = owner < scan.queries.count ? action.bound(owner) : kNothing;
            start[n][i] = bound < 0 ? kNothing - B : bound - B;
            start[n][i + 2] = own_copy(start[n][i]);  // the product wants four registers in a row
            wanted |= bound >= 0;
        }
    }
    return wanted;
}

// The signs of a lane's sums of one product, put behind those of the products before.
__device__ __forceinline__ void add_signs(std::uint32_t& signs, const int (&sums)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) signs = signs << 1 | static_cast<std::uint32_t>(sums[i]) >> 31;
}

// Keeps the hits of a lane: the sums of kProducts products, from queries `first_query` + 2 part on and rows
// `low` and `low` + 8, that are not negative. Few, so each is counted again rather than its sum kept.
__device__ __forceinline__ void keep_hits(const Scan& scan, const Collect& action, std::int64_t first_query,
                                          std::int64_t low, std::int64_t end, std::uint32_t signs) {
    static_assert(4 * kProducts == 32);
    const int words = (scan.codes.bytes + 3) / 4;
    for (std::uint32_t hits = ~signs; hits != 0; hits &= hits - 1) {
        const int at = 32 - __ffs(static_cast<int>(hits));  // 4 * product + sum
        const std::int64_t index = low + ((at & 2) != 0 ? 8 : 0);
        if (index >= end || !allowed(scan.filter, index)) continue;
        const std::int64_t query = first_query + at / 4 * kColumns + 2 * (lane() % 4) + (at & 1);
        const std::uint8_t* row = scan.codes.data + index * scan.codes.bytes;
        const std::uint8_t* wanted = scan.queries.data + query * scan.queries.bytes;
        int distance = 0;
#pragma unroll 1
        for (int w = 0; w < words; ++w)
            distance += popcount(load_word(scan.codes, row, w) ^ load_word(scan.queries, wanted, w));
        const unsigned long long place = atomicAdd(action.counts + query, 1ull);
        if (place < static_cast<unsigned long long>(action.capacity)) {
            action.keys[query * action.capacity + static_cast<std::int64_t>(place)] = key_of(distance, index);
        }
    }
}

// Calls run with B for codes of so many bytes.
template <class Run>
void with_product(int bytes, const Run& run) {
    if (bytes <= 8) return run(std::integral_constant<int, 64>());
    if (bytes <= 16) return run(std::integral_constant<int, 128>());
    if (bytes <= 32) return run(std::integral_constant<int, 256>());
    if (bytes <= 64) return run(std::integral_constant<int, 512>());
    throw std::invalid_argument("tensor cores take codes of at most 512 bits");
}

}  // namespace dmth_fast::cuda
