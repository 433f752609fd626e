// The table of kernels that each instruction set fills, and how the rest of the engine reaches them.
//
// Contract. A kernel touches memory that its arguments describe and nothing else; it allocates nothing,
// throws nothing and uses no standard-library templates, because its translation unit is compiled for an
// instruction set that the machine may lack and an out-of-line copy of a shared template could be linked
// elsewhere. A block is up to kBlockRows consecutive rows; its answer is a bit mask, bit i % 64 of word i /
// 64 for row i.
#pragma once

#include <cstdint>

namespace dmth_fast::cpu {

inline constexpr std::int64_t kBlockRows = 512;
inline constexpr std::int64_t kBlockWords = kBlockRows / 64;

inline constexpr std::int64_t kExtractSlack = 16;

struct Ahead;
struct PlaneRun;
struct PlaneHit;
struct TabQuery;

// Rows that share a key of a multi-index, side by side; see postings.inl.
struct Stretch {
    std::int64_t begin;
    std::int64_t count;
};
struct PostingHit {
    std::int64_t place;
    std::int32_t distance;
};
// A query, and what tells a row that it met in another table: its differences from the query within masks[i]
// are at most reached[i], for some i < tables.
struct PostingQuery {
    std::uint64_t fold;
    const std::uint64_t* masks;
    const std::int32_t* reached;
    std::int64_t tables;
};
struct PostingCursor {
    std::int64_t stretch = 0;  // to be read next, and how much of it has been
    std::int64_t done = 0;
    std::int64_t ahead = 0;  // to be fetched next
    std::int64_t ahead_done = 0;
    std::int64_t lead = 0;  // lines that have been fetched and not read
};
inline constexpr std::int64_t kPostingHits = 128;

struct Kernels {
    const char* name;

    // From how many queries on planes are read rather than rows: where an index has them, and where they must
    // be made first (one query more for each 8 bytes of a code). Measured at 32 to 512 bits on Zen 4, "avx2"
    // as well; "neon" has the numbers of "portable", unmeasured.
    std::int64_t queries_for_planes;
    std::int64_t queries_to_transpose;
    std::int64_t queries_for_tab;   // rather than kernel "sel", at 64 bits; in proportion below
    std::int64_t queries_to_slice;  // rather than count the distances of rows, one by one

    // out[i] = distance of row i to the query.
    void (*distances)(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes, const std::uint8_t* query,
                      std::int32_t* out);

    // out[i] = distance of row index[i] to the query.
    void (*distances_at)(const std::uint8_t* rows, std::int64_t bytes, const std::uint32_t* index,
                         std::int64_t n, const std::uint8_t* query, std::int32_t* out);

    // Rows of one block with distance <= bound; true if there is any. Words beyond n are zero.
    bool (*rows_within)(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes,
                        const std::uint8_t* query, std::int32_t bound, std::uint64_t* mask);

    // first + i for each set bit i of a block's mask, ascending; how many there are. Up to kExtractSlack
    // entries beyond the result may be written.
    std::int64_t (*extract)(const std::uint64_t* mask, std::uint32_t first, std::uint32_t* rows);

    // Up to kBlockRows rows to the bit planes of one block; planes.h gives the layout. What follows the rows'
    // own planes, which only kernels "sel" and "slice" read, is left to `weigh`.
    void (*transpose)(const std::uint8_t* rows, std::int64_t n, std::int64_t bytes, std::uint64_t* block);
    void (*weigh)(std::int64_t bytes, std::uint64_t* block);

    // Rows of a block within the bound of each query of a run: hits[i] belongs to queries[i], i < the result.
    // One entry beyond the result may be written. Fetches what `ahead` asks for.
    std::int64_t (*sel)(const std::uint64_t* block, std::int64_t bytes, const PlaneRun& run, Ahead& ahead,
                        PlaneHit* hits, std::int32_t* queries);

    // The same for codes of up to TabQuery::kMostBytes bytes, one part of a block at a time: `part` points to
    // the part's words of the first plane, and a mask's first words are written.
    std::int64_t (*tab)(const std::uint64_t* part, std::int64_t bytes, const TabQuery* queries,
                        std::int64_t count, Ahead& ahead, PlaneHit* hits, std::int32_t* who);
    std::int64_t tab_words;  // of a part

    // The value A of kernel "sel" modulo 2^L of each row of a block, for each query of a run: L vectors of
    // kBlockWords words at slices[i] for the i-th, vector j = bit j of A. Fetches what `ahead` asks for.
    void (*slice)(const std::uint64_t* block, std::int64_t bytes, const PlaneRun& run, Ahead& ahead,
                  std::uint64_t* const* slices);

    // Of `count` sliced blocks: adds to counts[s], s < 8, the rows with A / 8 = group and (A & s) = s; gives
    // the rows of the group. With masks only rows in mask i of block which[i] count; without, all rows.
    // `sparse` says that few blocks have such rows; it changes the cost alone.
    std::int64_t (*tally)(const std::uint64_t* slices, std::int64_t count, int levels,
                          const std::int32_t* which, const std::uint64_t* masks, int group, bool sparse,
                          std::uint64_t* counts);

    // Folds within the bound of the query, from the cursor on, that no table reached; at most kPostingHits.
    std::int64_t (*postings)(const std::uint64_t* folds, const Stretch* stretches, std::int64_t n,
                             const PostingQuery& query, std::int32_t bound, PostingCursor* cursor,
                             PostingHit* hits);

    // One row of `bits` values to its code; the column of the first NaN, or -1.
    std::int64_t (*pack_half)(const std::uint16_t* values, std::int64_t bits, double threshold,
                              std::uint8_t* out);
    std::int64_t (*pack_float)(const float* values, std::int64_t bits, double threshold, std::uint8_t* out);
    std::int64_t (*pack_double)(const double* values, std::int64_t bits, double threshold, std::uint8_t* out);
    std::int64_t (*pack_bool)(const std::uint8_t* values, std::int64_t bits, double threshold,
                              std::uint8_t* out);
};

// One per translation unit; null where the unit was compiled for another architecture.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* neon_kernels();

// Compile-time numbers, without the standard library.
template <int... I>
struct IntegerList {};

}  // namespace dmth_fast::cpu

#define DMTH_FAST_INLINE static inline __attribute__((always_inline))
