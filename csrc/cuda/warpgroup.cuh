// Candidates by the warpgroup's 1-bit product of compute capability 9.0.
//
// Contract. tensor.cuh's, but that four warps together take 64 rows: a warpgroup has its own split of the
// rows, the queries lie in shared memory with their complements, rows are registers as there. Compiled
// for 9.0a and for no other device; the plan asks Machine::warpgroup. Reason. One instruction takes 64 x 64 x
// 256 bit pairs and reads each query once for 64 rows, where mma.m16n8k256 holds the queries of a warp in
// registers. It is asynchronous; several warpgroups on a multiprocessor fill each other's waits.
//
// Roofline. tensor.cuh's product, 1.9e13 pairs of up to 128 bits a second at the rate reported for this
// instruction. The epilogue sets and joins the sums, one and a half operations a pair: 128 lanes at 1.98 GHz
// on 132 multiprocessors allow 2.2e13, so both are near their bound together. Not executed on a device so
// far.
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

// Rows of at most 64 bytes. The scan's tile is kTensorTile queries; `groups` warpgroups a block.
void run_warpgroup_collect(const Scan& scan, int groups, cudaStream_t stream, const Collect& action);

}  // namespace dmth_fast::cuda
