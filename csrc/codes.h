// Packed binary codes: the one currency between learning, search and evaluation.
//
// Contract. A code of `bits` bits (1..4096) is a row of ceil(bits / 8) bytes; bit j is bit j % 8 of byte j /
// 8 (little, as FAISS and numpy.packbits(bitorder="little")). Rows follow each other without gaps. Padding
// bits behind the last bit are zero in every row, so a distance never needs to know `bits`: the caller has
// checked it. Row numbers are 64-bit everywhere. Memory belongs to the caller and needs no alignment.
#pragma once

#include <cstdint>

namespace dmth_fast {

inline constexpr std::int64_t kMaxBits = 4096;
inline constexpr std::int64_t kMaxBytes = kMaxBits / 8;

struct Codes {
    const std::uint8_t* data;
    std::int64_t rows;
    std::int64_t bytes;

    const std::uint8_t* row(std::int64_t i) const { return data + i * bytes; }
};

}  // namespace dmth_fast
