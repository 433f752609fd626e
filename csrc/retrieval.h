// The native retrieval verbs. Python owns and has checked every array; a back end only reads codes and writes
// results.
//
// Contract. Results are ordered by (distance, row), a total order that depends neither on the instruction set
// nor on the number of threads nor on how the work was cut. Distances are int32, rows int64. `k` is at least
// 1 and at most the number of rows; a radius is inclusive. A verb returns early, with unspecified output,
// once `Call::interrupted` has answered true.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codes.h"

namespace dmth_fast {

// Ground truth of a set of rows: one class id a row, or `words` 64-bit words of a multi-hot mask a row. Two
// rows are relevant to each other when their ids are equal or their masks share a bit.
struct Labels {
    const std::int64_t* classes;
    const std::uint64_t* masks;
    std::int64_t words;
};

// Rows that take part in a search: one bit a row, bit i % 64 of word i / 64, in whole blocks of 8 words with
// zeros behind the last row. Without bits all rows take part.
struct Kept {
    const std::uint64_t* bits = nullptr;
    std::int64_t rows = 0;   // that the bits are for
    std::int64_t count = 0;  // of ones
};

struct RangeResult {
    std::vector<std::int64_t> offsets;
    std::unique_ptr<std::int32_t[]> distances;
    std::unique_ptr<std::int64_t[]> ids;
};

struct RankResult {
    std::vector<std::int64_t> offsets;
    std::unique_ptr<std::int64_t[]> ranks;
};

// The element types that `pack` reads. kHalf is IEEE binary16, kBool one byte of 0 or 1.
enum class Scalar { kHalf, kFloat, kDouble, kBool };

namespace cpu {

struct Kernels;

// What every verb takes beside its data. `interrupted` is asked from the calling thread alone, between tiles.
struct Call {
    const Kernels* kernels;
    int threads;
    std::function<bool()> interrupted;
};

// Instruction sets that this machine can run, slowest first, and the table of one of them (null: unknown
// here).
std::vector<std::string> available_isas();
const Kernels* kernels_of(const std::string& isa);

// bit = value > threshold, compared exactly (in double). Returns the flat index of the first NaN, or -1.
std::int64_t pack(const void* values, Scalar type, std::int64_t rows, std::int64_t bits, double threshold,
                  std::uint8_t* out, const Call& call);

// out: (queries, rows).
void hamming_distances(Codes codes, Codes queries, std::int32_t* out, const Call& call);

// distances, ids: (queries, k), 1 <= k <= rows that take part.
void search(Codes codes, Codes queries, std::int64_t k, std::int32_t* distances, std::int64_t* ids,
            const Kept& kept, const Call& call);

RangeResult range_search(Codes codes, Codes queries, std::int32_t radius, const Kept& kept, const Call& call);

// counts: (queries,) number of rows within the radius.
void range_count(Codes codes, Codes queries, std::int32_t radius, std::int64_t* counts, const Call& call);

// all, relevant: (queries, bits + 1), zeroed by the caller; rows and relevant rows at each distance. False if
// interrupted: then not all rows have been counted.
bool histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t bits,
                std::int64_t* all, std::int64_t* relevant, const Call& call);

// counts: (queries, bits + 1, levels), zeroed by the caller; rows at each distance that share 0, 1, ...
// labels with the query, levels - 1 or more in the last level. Labels are masks; 1 <= levels <= 4097.
void graded_histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t bits,
                       int levels, std::int64_t* counts, const Call& call);

// 1-based ascending ranks of the relevant rows of each query in the (distance, row) order.
// Fewer than 2^32 rows.
RankResult relevant_ranks(Codes codes, Codes queries, Labels code_labels, Labels query_labels,
                          const Call& call);

// ranks: (queries,) 1-based rank of row rows[q] for query q; 0 where rows[q] is negative.
void self_ranks(Codes codes, Codes queries, const std::int64_t* rows, std::int64_t* ranks, const Call& call);

// The order of equal distances: any, with expectations over all of them, or relevant rows last or first.
enum class Ties { kExpected, kPessimistic, kOptimistic };

// every, relevant: (queries, groups) items in each group of ties, groups in ranked order, and the relevant
// ones among them; no fewer than 0, and no more relevant ones than items.
struct TiedGroups {
    const std::int64_t* every;
    const std::int64_t* relevant;
    std::int64_t queries;
    std::int64_t groups;
    Ties ties;
};

// Expectations up to each query's cut-off: hits, and unless `precisions` is null the sum of the precisions at
// the relevant ranks (McSherry & Najork, ECIR 2008; He et al., CVPR 2018).
void tied_sums(const TiedGroups& of, const std::int64_t* cutoffs, double* hits, double* precisions,
               const Call& call);

// The expected sum of discounts at the relevant ranks up to each query's cut-off. discounts[i]: those of the
// first i ranks together, up to the largest cut-off.
void tied_discounts(const TiedGroups& of, const std::int64_t* cutoffs, const double* discounts, double* sums,
                    const Call& call);

// The expected rank of each query's first relevant item, infinity where there is none, and the expectation
// of 1 / rank.
void tied_firsts(const TiedGroups& of, double* ranks, double* reciprocals, const Call& call);

// Precision and recall within each radius, of histograms over distances.
struct RadiusCurves {
    const std::int64_t* every;     // (queries, groups)
    const std::int64_t* relevant;  // (queries, groups)
    std::int64_t queries;
    std::int64_t groups;
    const double* weights;  // (groups,) of the radii, for the mean by cost
    const double* level;    // (levels,) of recall, ascending
    std::int64_t levels;
    const bool* counted;  // (queries,) that enter the sums
    bool skip_empty;      // an empty ball is left out of a query's means; else it counts 0
    double* mean;         // (queries,) of the precision over radii
    double* mean_by_cost;
    double* sums;  // (2 groups + levels), zeroed: precision, recall, best precision from each level on
    std::int64_t* counts;  // (3 groups), zeroed: empty balls, relevant items, items
};
void radius_curves(const RadiusCurves& of, const Call& call);

// Of ranks as relevant_ranks gives them: for each query, how many are at most its cut-off, and the sum of j /
// rank over them, j = 1, 2, ...
void rank_sums(const std::int64_t* offsets, std::int64_t queries, const std::int64_t* ranks,
               const std::int64_t* cutoffs, std::int64_t* hits, double* precisions, const Call& call);

// Reads memory once, so many threads a part each, a word of each line: for benchmarks alone. The XOR of the
// words.
std::uint64_t read_probe(const std::uint8_t* data, std::int64_t bytes, const Call& call);

}  // namespace cpu
}  // namespace dmth_fast
