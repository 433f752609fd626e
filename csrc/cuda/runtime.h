// The CUDA runtime as the host uses it: calls that are checked, and what a block may have of shared memory.
#pragma once

#include <stdexcept>
#include <string>

#ifdef DMTH_FAST_EMULATE
#include "emulator.h"
#else
#include <cuda_runtime.h>
#endif

namespace dmth_fast::cuda {

// A call of the CUDA runtime that failed; the message names the call and the runtime's reason.
class DeviceError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    (void)cudaGetLastError();  // a sticky launch error must not be reported again by the next call
    throw DeviceError(std::string(what) + ": " + cudaGetErrorString(status));
}

// A block gets kUnaskedShared bytes, a kernel's own (static) arrays counted in; more of them are granted
// where the kernel asks for dynamic memory. kMostStaticShared bounds the own arrays of every kernel here.
inline constexpr int kUnaskedShared = 48 * 1024;
inline constexpr int kMostStaticShared = 8 * 1024;

// Dynamic shared memory that any kernel here may ask for on a device.
inline int most_dynamic_shared(int device) {
    int bytes = 0;
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "device attributes");
    return bytes - kMostStaticShared;
}

}  // namespace dmth_fast::cuda
