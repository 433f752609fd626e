// Search of rows that an index may hold as bit planes too.
#pragma once

#include <cstdint>

#include "../retrieval.h"
#include "scan.h"

namespace dmth_fast::cpu {

// distances, ids: (queries, k), 1 <= k <= rows that take part. `sampled`: guess the first bounds from a
// sample of rows.
void search_source(const Source& source, Codes queries, std::int64_t k, std::int32_t* distances,
                   std::int64_t* ids, bool sampled, const Call& call);

}  // namespace dmth_fast::cpu
