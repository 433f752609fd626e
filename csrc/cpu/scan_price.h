// What the scan of a query costs, measured on this machine.
//
// The price falls with the number of queries that are scanned together and depends on the instruction set,
// the memory and the width; no constant foretells it. So a part of the rows, small against them but beyond
// the caches where they are, is scanned by one thread for 1, 8 and 64 queries: some 30 ms, once for a set of
// tables. Prices for other numbers of queries lie between, along the logarithm.
#pragma once

#include <cstdint>

#include "../retrieval.h"
#include "scan.h"

namespace dmth_fast::cpu {

class ScanPrice {
  public:
    ScanPrice() = default;
    ScanPrice(const Source& source, const Call& call);

    // Nanoseconds a query, of `queries` on `rows` rows, if `threads` threads share the work of each query as
    // they share that of several: where queries are fewer than threads, a scan uses all of them.
    double of(std::int64_t queries, std::int64_t rows, int threads) const;

  private:
    double row_[3] = {};  // ns a row and query, for 1, 8 and 64 queries
};

}  // namespace dmth_fast::cpu
