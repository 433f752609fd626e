// Candidates by bit slices: 32 rows a lane in one word for each bit, and full adders of two LOP3
// instructions.
//
// For three planes a, b, c of rows and bits x, y, z of a query, (a^x) + (b^y) + (c^z) = low + 2 high with
// high = maj(a^x, b^y, c^z) and low = (a^b^c) ^ (x^y^z). The lows are planes again, of a query with bits
// x^y^z, and are reduced the same way, down to one parity: d = parity + 2 S, where S is a sum of W / 2 highs.
// A high has only 8 patterns (x, y, z); all 8 are computed once for 1,024 rows a warp and lie in shared
// memory, and a query picks 32 of them at 64 bits. The comparison rides on the adders: the counters start at
// 2^M - 1 - t, and the last carry says S > t. t = bound / 2 lets through distances up to bound | 1, and the
// few rows found are counted exactly.
//
// Roofline at 64 bits, for a warp, a query and 1,024 rows: 62 logic operations for the adders and 48 for
// addresses at 64 lanes a clock and multiprocessor: 55 clocks, 19 pairs a clock, 4.9e12 pairs a second on 132
// multiprocessors at 1.98 GHz, beside 2.1e12 by popcount. Shared memory takes 36 clocks of the same; its
// tables (32 KB a warp) leave 6 warps a multiprocessor. Transposing 1,024 rows and filling the tables costs
// as much as some 12 queries.
#pragma once

#include "actions.cuh"

namespace dmth_fast::cuda {

// Rows of at most 8 bytes. The scan's tile is kSlicedTile queries.
void run_sliced_collect(const Scan& scan, int warps, cudaStream_t stream, const Collect& action);

}  // namespace dmth_fast::cuda
