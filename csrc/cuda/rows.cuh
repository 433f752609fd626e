// Packed rows as 32-bit words in registers, and the distance of two of them.
//
// Contract. A row of `bytes` bytes becomes W words, zero behind its end. `unit` is the widest access (1, 4, 8
// or 16 bytes) that the address and the pitch of all rows allow: rows of 6 bytes are put together from bytes,
// rows of 8 come in one access. Nothing outside the array is read.
#pragma once

#include "device.h"

namespace dmth_fast::cuda {

struct Rows {
    const std::uint8_t* data;
    std::int64_t count;
    int bytes;
    int unit;
};

// Words of a row, and the number of words that the register kernels hold for it: 1, 2, 3, 4, 8, or 0 for the
// kernel that walks over longer rows.
inline constexpr int kMaxWords = 128;
inline int word_class(int bytes) {
    const int words = (bytes + 3) / 4;
    return words <= 4 ? words : words <= 8 ? 8 : 0;
}

// Word `index` of a row, from single bytes where rows are not made of words.
__device__ __forceinline__ std::uint32_t load_word(const Rows& rows, const std::uint8_t* row, int index) {
    const int first = 4 * index;
    if (first >= rows.bytes) return 0;
    if (rows.unit >= 4) return *reinterpret_cast<const std::uint32_t*>(row + first);
    std::uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (first + i < rows.bytes) word |= static_cast<std::uint32_t>(row[first + i]) << (8 * i);
    }
    return word;
}

template <int W>
__device__ __forceinline__ void load_row(const Rows& rows, std::int64_t index, std::uint32_t (&words)[W]) {
    const std::uint8_t* row = rows.data + index * rows.bytes;
    if constexpr (W == 2) {
        if (rows.unit >= 8) {
            const uint2 pair = *reinterpret_cast<const uint2*>(row);
            words[0] = pair.x;
            words[1] = pair.y;
            return;
        }
    }
    if constexpr (W % 4 == 0) {
        if (rows.unit >= 16 && rows.bytes == 4 * W) {
#pragma unroll
            for (int w = 0; w < W; w += 4) {
                const uint4 four = *reinterpret_cast<const uint4*>(row + 4 * w);
                words[w] = four.x;
                words[w + 1] = four.y;
                words[w + 2] = four.z;
                words[w + 3] = four.w;
            }
            return;
        }
    }
#pragma unroll
    for (int w = 0; w < W; ++w) words[w] = load_word(rows, row, w);
}

// A logic operation of three words by its table. The compiler would take one that it knows apart, to join the
// parts with what came before, and needs more of them then.
template <int kTable>
__device__ __forceinline__ std::uint32_t logic(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    static_assert(kTable == 0x96 || kTable == 0xe8);
#ifdef __CUDA_ARCH__
    std::uint32_t result;
    asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(result) : "r"(a), "r"(b), "r"(c), "n"(kTable));
    return result;
#else
    return kTable == 0x96 ? a ^ b ^ c : (a & b) | (c & (a | b));
#endif
}
__device__ __forceinline__ std::uint32_t parity(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    return logic<0x96>(a, b, c);
}
__device__ __forceinline__ std::uint32_t majority(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    return logic<0xe8>(a, b, c);
}

// Ones of 32 positions of three words: a word of sums, and one of carries that count twice.
struct Carried {
    std::uint32_t sum;
    std::uint32_t carry;

    __device__ __forceinline__ Carried(std::uint32_t a, std::uint32_t b, std::uint32_t c)
        : sum(parity(a, b, c)), carry(majority(a, b, c)) {}
};

// A population count takes the time of four logic operations (compute capability 7 to 9): from three words on
// full adders of two operations take its place, 2 counts for 3 words, 3 for 4 and 4 for 8.
template <int W>
__device__ __forceinline__ int distance(const std::uint32_t (&row)[W], const std::uint32_t* query) {
    if constexpr (W <= 2) {
        int sum = 0;
#pragma unroll
        for (int w = 0; w < W; ++w) sum += popcount(row[w] ^ query[w]);
        return sum;
    } else {
        static_assert(W == 3 || W == 4 || W == 8);
        std::uint32_t x[W];
#pragma unroll
        for (int w = 0; w < W; ++w) x[w] = row[w] ^ query[w];
        const Carried low(x[0], x[1], x[2]);
        if constexpr (W == 3) {
            return popcount(low.sum) + 2 * popcount(low.carry);
        } else if constexpr (W == 4) {
            return popcount(low.sum) + 2 * popcount(low.carry) + popcount(x[3]);
        } else {
            const Carried high(x[3], x[4], x[5]);
            const Carried ones(low.sum, high.sum, x[6]);
            const Carried twos(low.carry, high.carry, ones.carry);
            return popcount(ones.sum) + popcount(x[7]) + 2 * (popcount(twos.sum) + 2 * popcount(twos.carry));
        }
    }
}

// Whether a row takes part: `filter` holds one bit a row, bit i % 8 of byte i / 8; null lets every row
// through.
__device__ __forceinline__ bool allowed(const std::uint8_t* filter, std::int64_t row) {
    return filter == nullptr || (filter[row >> 3] >> (row & 7) & 1) != 0;
}

}  // namespace dmth_fast::cuda
