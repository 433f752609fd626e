// Candidates by 1-bit tensor cores.
//
// The hardware multiplies bits by AND and counts: sum over the bits of a & b. A row x stands beside its
// complement, (x, ~x), and a query q likewise: then the sum is the number of equal bits, B - distance, with
// padding counted as equal on both sides. No norms of rows or queries are needed; 64 bits of code are one
// mma.m16n8k128 for 16 rows and 8 queries, 128 bits one mma.m16n8k256, longer codes a chain of these.
//
// The comparison costs half an operation a pair: the accumulators start at -(B - bound), so that a sum that
// is not negative is a hit, and the AND of all sums of a lane (three at a time) is negative exactly if none
// is. Where they start stays in registers of its own, four in a row as the product wants them. A warp holds
// 64 queries in registers and reads 32 rows at a time (16 of more than 128 bits), one word a lane for each 8
// rows and 128 bits; no shared memory, no matrix of distances. Hits are counted again by popcount: few, and
// their sums lie in registers that only unrolled code could name.
//
// Roofline, by the machine code for 9.0 (benchmarks/machine_code.py): 64 bits take 36 instructions of a warp
// for 1,024 pairs, of which 21 go to the unit for logic and integers, which takes one in two clocks: 98 pairs
// a clock and multiprocessor, 2.5e13 a second on 132 of them at 1.98 GHz. 8 products of 16 x 8 x 128
// bits: at the 4.8e15 bit pairs a second that have been reported for an H200 with the warpgroup instruction,
// 3.8e13 pairs of 64 bits a second, 1.9e13 of 128, .9e13 of 256; by how much this instruction runs below that
// rate is not measured. Rows from L2, 8 bytes for 64 pairs, need 1.3 TB/s at 1e13 pairs a second.
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

// Rows of at most 64 bytes. The scan's tile is kTensorTile queries.
void run_tensor_collect(const Scan& scan, int warps, cudaStream_t stream, const Collect& action);

// The same, its sums counted; the tile is kTensorTile or kTensorCountTile queries. For SameClass and
// SharedLabel, tensor_count.cu.
template <class Relevance>
void run_tensor_count(const Scan& scan, int warps, std::size_t shared, cudaStream_t stream,
                      const CountAll<Relevance>& action);

}  // namespace dmth_fast::cuda
