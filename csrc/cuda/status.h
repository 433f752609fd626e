// Whether CUDA can be used on this machine, and if not, why not; asked without a driver as well.
#pragma once

#include <string>

#include "plan.h"

namespace dmth_fast::cuda {

struct Status {
    int driver;   // newest CUDA version that the driver supports, 1000 * major + 10 * minor; 0: no driver
    int runtime;  // CUDA version of this module
    int devices;
    std::string reason;  // empty where CUDA can be used
};

Status status();

// The reason behind the numbers, in words; `error` is the runtime's own text when it could not count devices.
std::string reason_of(int driver, int runtime, int devices, const char* error);

// The numbers of a device that plans depend on. Throws DeviceError for a device that is not there or for
// which this module holds no code.
Machine machine_of(int device);

// Makes a device current for the calling thread, and the former one again at the end.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device);
    ~DeviceGuard();
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int former_ = -1;
};

}  // namespace dmth_fast::cuda
