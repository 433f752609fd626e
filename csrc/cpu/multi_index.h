// Exact multi-index hashing: the nearest rows without a look at all of them.
//
// Contract. The answers of a scan, ids included, at any k and any radius; the caller holds the rows still.
// Method (Norouzi, Punjani and Fleet, TPAMI 2014). m tables, each keyed by some bits of the code. A row whose
// key differs from the query's by more than t_i bits in every table i is further away than
// R = sum of (t_i + 1) - 1; so once all keys within t_i have been looked up, everything within R is found.
// The t_i grow one at a time (the general pigeonhole principle of Qin et al., ICDE 2018), and always the one
// whose next keys hold the fewest rows: where codes cluster, a query off its centre in some table finds
// hundreds of rows there where another table holds tens of thousands.
// Layout. Per table: offsets of the 2^bits stretches, and the stretches, rows with equal keys side by side,
// each as its fold (8 bytes, the code itself up to 64 bits) and its number. So a stretch is read in order,
// and only a row that passes by its fold costs a look elsewhere. No row is met twice: it counts in the first
// table that reached it, which its own bits tell. Memory: 12 bytes a table and distinct code (16 from 2^32
// rows on), and the offsets.
//
// Cost. So much for a key, more if it holds rows, and for each of these (constants in
// multi_index_search.cpp), times the pace at which this machine reads them. Whoever searches names a price; a
// search that has cost more, or is foreseen to, stops and says so.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "../codes.h"
#include "../retrieval.h"

namespace dmth_fast::cpu {

struct Near {
    std::int64_t id;
    std::int32_t distance;
};

// What one query took.
struct Effort {
    std::int64_t keys = 0;      // looked up
    std::int64_t postings = 0;  // rows looked at, by their folds
    std::int32_t radius = -1;   // everything within it has been found
    double cost = 0;            // of the above, in ns
    double expected = 0;        // in ns, of the whole search: of what was left when it stopped, too
};

class MultiIndex {
  public:
    static constexpr double kNoPrice = std::numeric_limits<double>::infinity();

    // Scratch memory of one thread.
    class Searcher {
      public:
        virtual ~Searcher() = default;

        // Asks memory for what a later search of the query will read first; before its turn once early, then,
        // when that has arrived, late.
        virtual void foresee(const std::uint8_t* query, bool late) const = 0;

        // The k nearest rows, 1 <= k <= rows(). False if it stopped because of the price, in ns.
        virtual bool nearest(const std::uint8_t* query, std::int64_t k, double price, std::int32_t* distances,
                             std::int64_t* ids, Effort& effort) = 0;

        // All rows within the radius in order, appended to `found`. False as above; nothing is appended then.
        virtual bool within(const std::uint8_t* query, std::int32_t radius, double price,
                            std::vector<Near>& found, Effort& effort) = 0;
    };

    virtual ~MultiIndex() = default;

    // Null if it was interrupted. Wide rows are numbers of 64 bits.
    static std::unique_ptr<const MultiIndex> build(Codes codes, const Call& call);
    static std::unique_ptr<const MultiIndex> build_wide(Codes codes, const Call& call);

    virtual std::int64_t rows() const = 0;
    virtual std::int64_t distinct() const = 0;
    virtual int tables() const = 0;
    virtual std::int64_t memory() const = 0;

    // `codes`: the rows of the build at their present address.
    virtual std::unique_ptr<Searcher> searcher(Codes codes, const Kernels& kernels, double pace) const = 0;

    // How slow this machine is beside the one of the constants, measured with a few queries that are somewhat
    // off the rows: some milliseconds.
    virtual double pace(Codes codes, const Kernels& kernels) const = 0;
};

// What finding everything within a radius costs in `rows` random codes of `bits` bits, in ns: an estimate for
// where no tables exist yet.
double expected_cost(std::int64_t rows, std::int64_t bits, std::int32_t radius);

}  // namespace dmth_fast::cpu
