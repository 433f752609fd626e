// What the verbs share between translation units: rows from codes, and the counting scan.
#pragma once

#include <limits>

#include "selection.cuh"
#include "verbs.h"

namespace dmth_fast::cuda {

inline Rows rows_of(Codes codes) {
    return {codes.data, codes.rows, static_cast<int>(codes.bytes), access_unit(codes.data, codes.bytes)};
}

// Zeroes the counters (queries, bins) and adds one for each row at its distance.
void count_distances(const Scan& scan, int warps, unsigned long long* counters, std::int64_t bins,
                     cudaStream_t stream);

}  // namespace dmth_fast::cuda
