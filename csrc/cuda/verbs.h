// The retrieval verbs on a CUDA device: retrieval.h's results, on the caller's stream.
//
// Contract. Every pointer is memory of the stream's device, which is current. Nothing is allocated and
// nothing waits for the device, so a CUDA graph can capture any verb. Workspaces come from the caller,
// 256-byte aligned, as large as the plan says. `filter` holds one bit a row (bit i % 8 of byte i / 8), null
// for all rows; then k is at most the number of rows that it lets through.
#pragma once

#include "../retrieval.h"
#include "plan.h"

#ifdef DMTH_FAST_EMULATE
using DmthStream = void*;
#else
struct CUstream_st;
using DmthStream = CUstream_st*;
#endif

namespace dmth_fast::cuda {

// The element types that `pack` reads; brain is bfloat16.
enum class Element { kHalf, kBrain, kFloat, kDouble, kBool };

// `first_nan`: one 64-bit number on the device; afterwards the flat index of the first NaN, or 2^64 - 1.
void pack(const void* values, Element type, std::int64_t rows, std::int64_t bits, double threshold,
          std::uint8_t* out, unsigned long long* first_nan, DmthStream stream);

void hamming_distances(Codes codes, Codes queries, std::int32_t* out, const Machine& machine,
                       DmthStream stream);

// distances, ids: (queries, plan.k).
void search(Codes codes, Codes queries, const std::uint8_t* filter, const SearchPlan& plan, void* workspace,
            std::int32_t* distances, std::int64_t* ids, DmthStream stream);

// counts: (queries,) rows within the radius.
void range_count(Codes codes, Codes queries, const std::uint8_t* filter, std::int32_t radius,
                 const RangePlan& plan, void* workspace, std::int64_t* counts, DmthStream stream);

// After range_count with the same arguments and workspace; offsets: (queries + 1,), the sums of the counts.
void range_write(Codes codes, Codes queries, const std::uint8_t* filter, std::int32_t radius,
                 const RangePlan& plan, void* workspace, const std::int64_t* offsets, std::int32_t* distances,
                 std::int64_t* ids, DmthStream stream);

// all, relevant: (queries, 8 * bytes + 1), zeroed here. `method`: kAuto, kPopcount or kTensor.
void histograms(Codes codes, Codes queries, Labels code_labels, Labels query_labels, std::int64_t* all,
                std::int64_t* relevant, Method method, const Machine& machine, DmthStream stream);

// For benchmarks: each warp of product_threads(machine) threads repeats 8 products of 16 x 8 x `bits` bit
// pairs (by kWarpgroup each 4 warps one of 64 x 64), and each thread writes the total of its 32 sums.
std::int64_t product_threads(const Machine& machine);
void repeat_products(Method method, int bits, std::int64_t repeats, std::int32_t* out, const Machine& machine,
                     DmthStream stream);

}  // namespace dmth_fast::cuda
