#include "status.h"

#include "runtime.h"

namespace dmth_fast::cuda {
namespace {

std::string version(int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

// The oldest Linux driver that runs a runtime of this version: one branch for each major version.
std::string driver_for(int runtime) {
    const int major = runtime / 1000;
    return major >= 13 ? "580" : major == 12 ? "525" : "450";
}

constexpr int kLeastMajor = 8;

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "device attributes");
    return value;
}

}  // namespace

std::string reason_of(int driver, int runtime, int devices, const char* error) {
    if (driver == 0) return "no NVIDIA driver was found";
    if (driver / 1000 < runtime / 1000) {
        return "the NVIDIA driver supports CUDA " + version(driver) + ", but this module needs CUDA " +
               version(runtime / 1000 * 1000) + ": install driver " + driver_for(runtime) +
               " or newer, or build dmth_fast with CUDA " + std::to_string(driver / 1000);
    }
    if (error != nullptr) return std::string("the CUDA runtime says: ") + error;
    if (devices == 0) return "the NVIDIA driver shows no device";
    return "";
}

Status status() {
    Status result{};
    if (cudaRuntimeGetVersion(&result.runtime) != cudaSuccess) result.runtime = CUDART_VERSION;
    if (cudaDriverGetVersion(&result.driver) != cudaSuccess) result.driver = 0;
    const cudaError_t counted = cudaGetDeviceCount(&result.devices);
    if (counted != cudaSuccess) result.devices = 0;
    const bool none = counted == cudaSuccess || counted == cudaErrorNoDevice;
    result.reason = reason_of(result.driver, result.runtime, result.devices,
                              none ? nullptr : cudaGetErrorString(counted));
    (void)cudaGetLastError();
    return result;
}

Machine machine_of(int device) {
    Machine machine{attribute(cudaDevAttrMultiProcessorCount, device), most_dynamic_shared(device),
                    attribute(cudaDevAttrComputeCapabilityMajor, device),
                    attribute(cudaDevAttrComputeCapabilityMinor, device)};
#ifdef DMTH_FAST_CUDA_WARPGROUP
    machine.warpgroup = machine.major == 9 && machine.minor == 0;
#endif
    if (machine.major < kLeastMajor) {
        throw DeviceError("device " + std::to_string(device) + " has compute capability " +
                          std::to_string(machine.major) + "." + std::to_string(machine.minor) +
                          "; this module needs 8.0 or higher");
    }
    return machine;
}

DeviceGuard::DeviceGuard(int device) {
    int current = 0;
    check(cudaGetDevice(&current), "current device");
    if (current == device) return;
    check(cudaSetDevice(device), "set device");
    former_ = current;
}

DeviceGuard::~DeviceGuard() {
    if (former_ >= 0) (void)cudaSetDevice(former_);
}

}  // namespace dmth_fast::cuda
