// Which bits of a code make the key of which table.
//
// Contract. Some bits of the code are given to m tables, each bit to at most one; the key of table i collects
// its bits in ascending order. Two rows at distance r over all bits differ by at most r over the bits of the
// tables, so a search is exact whichever bits were chosen; the choice decides only how many rows it looks at.
// How. Keys of log2(distinct codes) - 5 bits: a key leads to some dozens of rows of uniform codes, as many as
// are read in about the time that it takes to find them in memory. Bits that hardly ever vary are left
// out (padding is such a bit), and bits that vary together go to different tables, so that the keys of a
// table spread as far as the codes do. Both are read off a sample. More than kMostTables tables are never
// made: a wide code keeps its most balanced bits. Cost of a key: a look-up for each byte that has bits of it.
#pragma once

#include <cstdint>
#include <vector>

#include "../codes.h"

namespace dmth_fast::cpu {

inline constexpr int kMostTables = 16;
inline constexpr int kMostKeyBits = 28;

// Ones of a word. The builtin is a call where the target has no such instruction.
inline std::int32_t ones(std::uint64_t x) {
    x -= (x >> 1) & 0x5555555555555555ULL;
    x = (x & 0x3333333333333333ULL) + ((x >> 2) & 0x3333333333333333ULL);
    return static_cast<std::int32_t>(((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL) * 0x0101010101010101ULL >> 56);
}

class KeyLayout {
  public:
    // `distinct`: the number of different codes; `rows` of them are sampled.
    KeyLayout(Codes rows, std::int64_t distinct);

    // Bits that a key should have for so many different codes.
    static double wanted_bits(std::int64_t distinct);

    int tables() const { return static_cast<int>(parts_.size()); }
    int bits(int table) const { return parts_[static_cast<std::size_t>(table)].bits; }

    std::uint32_t key(int table, const std::uint8_t* code) const {
        std::uint32_t key = 0;
        for (const Look& look : parts_[static_cast<std::size_t>(table)].looks) {
            key ^= look.keys[code[look.byte]];
        }
        return key;
    }

    // Of codes of at most 8 bytes: the bits of each table's key.
    const std::uint64_t* fold_masks() const { return fold_masks_.data(); }

    // Whether some table's key of a row differs from the query's by at most that table's entry of `reached`.
    // `differ`: the row xor the query, in whole words.
    bool within_any(const std::uint64_t* differ, const std::int32_t* reached) const {
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            std::int32_t d = 0;
            for (const Mask& mask : parts_[i].masks) d += ones(differ[mask.word] & mask.bits);
            if (d <= reached[i]) return true;
        }
        return false;
    }

  private:
    struct Look {
        std::int64_t byte;
        std::uint32_t keys[256];
    };
    struct Mask {
        std::int64_t word;
        std::uint64_t bits;
    };
    struct Part {
        int bits;
        std::vector<Look> looks;
        std::vector<Mask> masks;
    };

    std::vector<Part> parts_;
    std::vector<std::uint64_t> fold_masks_;
};

// A code of at most 8 bytes as a word; of a longer one the exclusive or of its words, whose distances are
// never more than those of the codes, and hardly less while they are small.
inline std::uint64_t fold(const std::uint8_t* code, std::int64_t bytes) {
    std::uint64_t folded = 0;
    for (std::int64_t at = 0; at < bytes; at += 8) {
        std::uint64_t word = 0;
        __builtin_memcpy(&word, code + at, static_cast<std::size_t>(bytes - at < 8 ? bytes - at : 8));
        folded ^= word;
    }
    return folded;
}

}  // namespace dmth_fast::cpu
