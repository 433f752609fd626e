// A batch of queries: by the tables where that is cheaper, the rest together by one scan.
//
// Contract. As search.h and range.h. The tables hold the first rows of the source; rows added since are
// scanned and merged. With a price each query decides for itself: it starts in the tables and leaves them
// when they have cost more than its share of a scan, or are foreseen to. Those that leave are scanned
// together, since a scan is much cheaper a query for many; where few leave, so that a scan of those few is
// dearer than it was thought to be, they try the tables again at that price. Without one none leaves.
#pragma once

#include <cstdint>
#include <vector>

#include "../retrieval.h"
#include "multi_index.h"
#include "scan.h"
#include "scan_price.h"

namespace dmth_fast::cpu {

// What became of each query.
struct Outcome {
    std::vector<std::uint8_t> left;  // 1: for the scan
    std::vector<Effort> efforts;
    std::vector<double> prices;  // of its scan, in ns; 0 without a price
};

// A multi-index over the first rows of a source.
struct Hashed {
    const MultiIndex& tables;
    const Source& source;
    const ScanPrice* price;  // null: no query leaves
    double pace = 1;         // of the tables on this machine
};

Outcome search_hashed(const Hashed& hashed, Codes queries, std::int64_t k, std::int32_t* distances,
                      std::int64_t* ids, const Call& call);

// As search_hashed would decide; nothing is scanned.
Outcome explain_hashed(const Hashed& hashed, Codes queries, std::int64_t k, const Call& call);

RangeResult range_hashed(const Hashed& hashed, Codes queries, std::int32_t radius, const Call& call);

}  // namespace dmth_fast::cpu
