// Range search of rows that an index may hold as bit planes too.
#pragma once

#include <cstdint>

#include "../retrieval.h"
#include "scan.h"

namespace dmth_fast::cpu {

RangeResult range_source(const Source& source, Codes queries, std::int32_t radius, const Call& call);

// counts: (queries,).
void count_source(const Source& source, Codes queries, std::int32_t radius, std::int64_t* counts,
                  const Call& call);

}  // namespace dmth_fast::cpu
