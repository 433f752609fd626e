// The CUDA language as the kernels use it: intrinsics under short names, and launches.
//
// Contract. Kernels include this header and nothing else of CUDA, host code includes runtime.h. Blocks are
// one dimensional and whole warps; a warp-wide call is made by all 32 lanes. With DMTH_FAST_EMULATE the same
// files compile as plain C++ against the emulator of the tests, which runs every thread of a block as a
// fiber: the kernels, their launch geometry and the host's plan are executed without a device.
#pragma once

#include <cstdint>
#include <type_traits>

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

// The same value, which the compiler does not know to be the same: it stays in a register of its own where a
// copy made in a loop would cost more.
template <class T>
__device__ __forceinline__ T own_copy(T value) {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<T>(from_lane(reinterpret_cast<std::uintptr_t>(value), lane()));
    } else {
        return from_lane(value, lane());
    }
}

// A word that no thread writes while the kernel runs.
__device__ __forceinline__ std::uint32_t constant_word(const void* address) {
#ifdef DMTH_FAST_EMULATE
    return *static_cast<const std::uint32_t*>(address);
#else
    return __ldg(static_cast<const std::uint32_t*>(address));
#endif
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

// A kernel names its own shared arrays once, first of all: so their bound holds, and the emulated device
// counts them.
template <class... Arrays>
__device__ __forceinline__ void own_shared(const Arrays&...) {
    static_assert((sizeof(Arrays) + ...) <= kMostStaticShared);
#ifdef DMTH_FAST_EMULATE
    emulator::own_shared((sizeof(Arrays) + ...));
#endif
}

// Asks for all the dynamic shared memory that a kernel may have, whatever one launch needs: so no thread
// takes back what another has asked for the same kernel.
inline void ask_for_shared(const char* name, const void* kernel) {
    int device = 0;
    check(cudaGetDevice(&device), name);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               most_dynamic_shared(device)),
          name);
}

// Starts a kernel on a stream. Shared memory that is not granted unasked, beside a kernel's own, is asked for
// first.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, unsigned threads, std::size_t shared,
            cudaStream_t stream, const Arguments&... arguments) {
    if (grid.x == 0 || grid.y == 0) return;
    const auto address = reinterpret_cast<const void*>(kernel);
    if (shared > kUnaskedShared - kMostStaticShared) ask_for_shared(name, address);
#ifdef DMTH_FAST_EMULATE
    (void)stream;
    emulator::launch(grid, threads, shared, address, [&] { kernel(static_cast<Parameters>(arguments)...); });
#else
    // clang-format off
    kernel<<<grid, threads, shared, stream>>>(static_cast<Parameters>(arguments)...);
    // clang-format on
#endif
    check(cudaGetLastError(), name);
}

}  // namespace dmth_fast::cuda
