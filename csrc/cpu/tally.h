// The two histograms of evaluation by kernel "tally", for labels that are class ids.
#pragma once

#include <cstdint>

#include "../retrieval.h"

namespace dmth_fast::cpu {

// Whether it applies: the instruction set has the kernel, and the queries pay for bit planes and for the
// grouping.
bool tally_pays(Codes codes, Codes queries, Labels labels, const Call& call);

// As histograms() in retrieval.h.
void tally_histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t bits,
                      std::int64_t* all, std::int64_t* relevant, const Call& call);

}  // namespace dmth_fast::cpu
