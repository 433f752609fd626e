// The CUDA language as the kernels use it: intrinsics under short names, and launches.
//
// Contract. Kernels include this header and nothing else of CUDA, host code includes runtime.h. Blocks are
// one dimensional and whole warps; a warp-wide call is made by all 32 lanes. With DMTH_FAST_EMULATE the same
// files compile as plain C++ against the emulator of the tests, which runs every thread of a block as a
// fiber: the kernels, their launch geometry and the host's plan are executed without a device.
#pragma once

#include <cstdint>

#include "runtime.h"

namespace dmth_fast::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ int lane() {
    return static_cast<int>(threadIdx.x & 31u);
}
__device__ __forceinline__ int warp() {
    return static_cast<int>(threadIdx.x >> 5);
}
__device__ __forceinline__ int warps() {
    return static_cast<int>(blockDim.x >> 5);
}
__device__ __forceinline__ bool any(bool condition) {
    return __any_sync(kWholeWarp, condition) != 0;
}
__device__ __forceinline__ unsigned ballot(bool condition) {
    return __ballot_sync(kWholeWarp, condition);
}
template <class T>
__device__ __forceinline__ T from_lane(T value, int source) {
    return __shfl_sync(kWholeWarp, value, source);
}
__device__ __forceinline__ int popcount(std::uint32_t word) {
    return __popc(word);
}
__device__ __forceinline__ unsigned lanes_below() {
    return (1u << lane()) - 1u;
}

#ifdef DMTH_FAST_EMULATE
inline unsigned char* dynamic_shared() {
    return emulator::dynamic_shared();
}
#else
extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
__device__ __forceinline__ unsigned char* dynamic_shared() {
    return dynamic_shared_bytes;
}
#endif

// Starts a kernel on a stream. More dynamic shared memory than every device grants is asked for first.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, unsigned threads, std::size_t shared,
            cudaStream_t stream, const Arguments&... arguments) {
    if (grid.x == 0 || grid.y == 0) return;
#ifdef DMTH_FAST_EMULATE
    (void)name;
    (void)stream;
    emulator::launch(grid, threads, shared, [&] { kernel(static_cast<Parameters>(arguments)...); });
#else
    if (shared > 48 * 1024) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared)),
              name);
    }
    // clang-format off
    kernel<<<grid, threads, shared, stream>>>(static_cast<Parameters>(arguments)...);
    // clang-format on
    check(cudaGetLastError(), name);
#endif
}

}  // namespace dmth_fast::cuda
