// Candidates by the warpgroup's 1-bit product of compute capability 9.0.
//
// Contract. tensor.cuh's, but that four warps together take 64 rows: a warpgroup has its own split of the
// rows, the queries lie in shared memory with their complements, rows are registers as there. Compiled
// for 9.0a and for no other device; the plan asks Machine::warpgroup. Reason. One instruction takes 64 x 64 x
// 256 bit pairs and reads each query once for 64 rows, where mma.m16n8k256 holds the queries of a warp in
// registers. It is asynchronous; several warpgroups on a multiprocessor fill each other's waits.
//
// Roofline. 1.9e13 pairs of up to 128 bits a second at the rate reported for this instruction. It adds to the
// sums where they are, so each has to be set before: by machine code for 9.0 (benchmarks/machine_code.py) 98
// instructions of a warp for 1,024 pairs of 128 bits, 1.1e13 pairs a second, half of what tensor.cuh's
// product allows, whose sums start from other registers. This one is ahead only where that one runs at less
// than half of its rate. Not executed on a device so far.
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

// Rows of at most 64 bytes. The scan's tile is kTensorTile queries; `groups` warpgroups a block.
void run_warpgroup_collect(const Scan& scan, int groups, cudaStream_t stream, const Collect& action);

// Products alone, of words that are all `pattern`; see product_rate.cu.
void run_warpgroup_products(dim3 grid, unsigned threads, std::int64_t repeats, std::uint32_t pattern,
                            std::int32_t* out, cudaStream_t stream);

}  // namespace dmth_fast::cuda
