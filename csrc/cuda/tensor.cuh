// Candidates by 1-bit tensor cores.
//
// The hardware multiplies bits by AND and counts: sum over 256 bits of a & b. A row of up to 128 bits x
// stands beside its complement, (x, ~x), and a query q likewise: then the sum is the number of equal bits,
// 128 - distance, with padding counted as equal on both sides. No norms of rows or queries are needed; 128
// bits of code are one mma.m16n8k256 for 16 rows and 8 queries, and longer codes a chain of them into the
// same accumulators.
//
// The comparison costs half an operation a pair: the accumulators start at -(128 c - bound), so that a sum
// that is not negative is a hit, and the AND of all sums of a lane (three at a time) is negative exactly if
// none is. A warp holds 64 queries in registers (for each 8 of them and each chain link one word a lane, its
// complement is free) and reads 16 rows at a time, one word a lane for each row; no shared memory, no matrix
// of distances.
//
// Roofline. A product takes 16 x 8 x 256 bit pairs. At the 4.8e15 bit pairs a second that have been reported
// for an H200 with the warpgroup instruction, 1.9e13 pairs of up to 128 bits a second; the instruction used
// here runs below that rate on Hopper (by how much is not measured). The epilogue, two logic operations for 4
// pairs a lane, allows 3.3e13; rows from L2, 16 bytes for 64 pairs, need 2.4 TB/s at 1e13 pairs a second.
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

// Rows of at most 64 bytes. The scan's tile is kTensorTile queries.
void run_tensor_collect(const Scan& scan, int warps, cudaStream_t stream, const Collect& action);

// The same, its sums counted; the tile is kTensorTile or kTensorCountTile queries. tensor_count.cu.
void run_tensor_count(const Scan& scan, int warps, std::size_t shared, cudaStream_t stream,
                      const CountAll& action);

}  // namespace dmth_fast::cuda
