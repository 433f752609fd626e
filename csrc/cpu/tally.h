// Rows of each grade of relevance at each distance from each query, over bit planes: kernels "slice" and
// "tally".
#pragma once

#include <cstdint>

#include "../retrieval.h"
#include "relevance.h"

namespace dmth_fast::cpu {

// Adds all rows to all[(q * (bits + 1) + d) * step], and those of grade g >= 1 to graded[... + g - 1]. False
// if interrupted.
bool tally_rows(Codes codes, Codes queries, Relevance& relevance, int grades, std::int64_t bits,
                std::int64_t* all, std::int64_t* graded, std::int64_t step, const Call& call);

}  // namespace dmth_fast::cpu
