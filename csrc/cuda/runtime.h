// The CUDA runtime as the host uses it: calls that are checked.
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

}  // namespace dmth_fast::cuda
