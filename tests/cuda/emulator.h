// A device made of one CPU thread: each thread of a block is a fiber, a warp-wide call and __syncthreads are
// the points where fibers wait for each other.
//
// A launch that a device would refuse for its shared memory is an error here too: what a kernel has asked for
// stands in Device::asked, its own arrays are those that it names (own_shared of device.h).
//
// Strict where hardware is lenient: a lane that has left while its warp still talks, two different warp-wide
// calls meeting, or a barrier that not every thread reaches ends the program with a message. Fibers and
// blocks run in an order drawn from a seed, and shared memory starts as garbage, so code that relies on an
// order that CUDA does not promise is likely to give wrong results here too. Not emulated: memory models,
// caches, time.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(bytes) alignas(bytes)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "invalid argument";
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
    std::memset(to, value, bytes);
    return cudaSuccess;
}

namespace emulator {

enum class Wait { kRun, kBallot, kShuffle, kMatrix, kSyncWarp, kBarrier, kDone };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    Wait wait = Wait::kRun;
    std::uint64_t value = 0;   // what this lane brings to a warp-wide call
    std::uint64_t result = 0;  // what the call gives it
    int source = 0;
    std::uint32_t matrix[6] = {};
    std::int32_t sums[4] = {};
};

struct Device {
    ucontext_t scheduler;
    std::vector<Fiber> fibers;
    std::vector<unsigned char> shared;
    const std::function<void()>* body = nullptr;
    unsigned current = 0;
    dim3 block_index, grid;
    unsigned block_size = 0;
    std::minstd_rand random{1};
    std::int64_t launches = 0;
    std::size_t most_shared = 227 * 1024;      // of a block that asks, own and dynamic
    std::map<const void*, std::size_t> asked;  // dynamic, by kernel
    const void* kernel = nullptr;
    cudaError_t error = cudaSuccess;
};

inline Device& device() {
    static Device instance;
    return instance;
}

[[noreturn]] inline void fail(const char* message) {
    const Device& d = device();
    std::fprintf(stderr, "emulator: %s (block %u,%u thread %u of %u)\n", message, d.block_index.x,
                 d.block_index.y, d.current, d.block_size);
    std::abort();
}

// Whether a device starts the current kernel with so many bytes of its own.
inline bool grants(std::size_t own, std::size_t dynamic) {
    const Device& d = device();
    const auto asked = d.asked.find(d.kernel);
    if (asked == d.asked.end()) return own + dynamic <= 48 * 1024;
    return dynamic <= asked->second && own + dynamic <= d.most_shared;
}

inline unsigned char* dynamic_shared() {
    return device().shared.data();
}
inline Fiber& self() {
    return device().fibers[device().current];
}

inline void pause(Wait wait) {
    Fiber& fiber = self();
    fiber.wait = wait;
    swapcontext(&fiber.context, &device().scheduler);
}

// The arrays of the kernel are known now: a launch that a device would have refused ends before it begins.
inline void own_shared(std::size_t bytes) {
    if (grants(bytes, device().shared.size())) return;
    device().error = cudaErrorInvalidValue;
    pause(Wait::kDone);
}

inline void entry() {
    (*device().body)();
    pause(Wait::kDone);
}

// The 1-bit matrix product of a warp, from the fragment layout of mma.m16n8k256 in the PTX manual: with g =
// lane / 4 and t = lane % 4, A holds rows g and g + 8 at bits 32 t and 128 + 32 t, B column g at the same
// bits, C rows g and g + 8 at columns 2 t and 2 t + 1.
inline void multiply(Fiber* lanes) {
    std::uint32_t a[16][8], b[8][8];
    for (unsigned l = 0; l < 32; ++l) {
        const unsigned g = l / 4, t = l % 4;
        a[g][t] = lanes[l].matrix[0];
        a[g + 8][t] = lanes[l].matrix[1];
        a[g][t + 4] = lanes[l].matrix[2];
        a[g + 8][t + 4] = lanes[l].matrix[3];
        b[g][t] = lanes[l].matrix[4];
        b[g][t + 4] = lanes[l].matrix[5];
    }
    for (unsigned l = 0; l < 32; ++l) {
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned row = l / 4 + (i >= 2 ? 8 : 0), column = 2 * (l % 4) + (i & 1);
            for (unsigned w = 0; w < 8; ++w) lanes[l].sums[i] += std::popcount(a[row][w] & b[column][w]);
        }
    }
}

inline void finish_warp(Fiber* lanes) {
    const Wait wait = lanes[0].wait;
    if (wait == Wait::kBallot) {
        std::uint64_t mask = 0;
        for (unsigned l = 0; l < 32; ++l) mask |= (lanes[l].value & 1) << l;
        for (unsigned l = 0; l < 32; ++l) lanes[l].result = mask;
    } else if (wait == Wait::kShuffle) {
        for (unsigned l = 0; l < 32; ++l) lanes[l].result = lanes[lanes[l].source & 31].value;
    } else if (wait == Wait::kMatrix) {
        multiply(lanes);
    }
    for (unsigned l = 0; l < 32; ++l) lanes[l].wait = Wait::kRun;
}

// Lets everything that waits for complete company go on. Returns false when all threads are done.
inline bool release() {
    Device& d = device();
    unsigned done = 0, barrier = 0, moved = 0;
    for (unsigned first = 0; first < d.block_size; first += 32) {
        Fiber* lanes = &d.fibers[first];
        unsigned same = 0;
        for (unsigned l = 0; l < 32; ++l) {
            same += lanes[l].wait == lanes[0].wait;
            done += lanes[l].wait == Wait::kDone;
            barrier += lanes[l].wait == Wait::kBarrier;
        }
        const bool talking = lanes[0].wait != Wait::kDone && lanes[0].wait != Wait::kBarrier;
        if (same == 32 && talking) {
            finish_warp(lanes);
            ++moved;
        } else if (same != 32) {
            d.current = first;
            fail("lanes of a warp wait at different calls, or some have left");
        }
    }
    if (barrier == d.block_size) {
        for (unsigned i = 0; i < d.block_size; ++i) d.fibers[i].wait = Wait::kRun;
        return true;
    }
    if (done == d.block_size) return false;
    if (moved == 0) fail("a barrier that not every thread reaches");
    return true;
}

inline void run_block(const std::function<void()>& body, std::size_t shared) {
    Device& d = device();
    d.body = &body;
    d.shared.resize(shared);  // exactly: a sanitizer then sees an access behind the end
    for (auto& byte : d.shared) byte = static_cast<unsigned char>(d.random());
    constexpr std::size_t kStack = 96 * 1024;
    if (d.fibers.size() < d.block_size) d.fibers.resize(d.block_size);
    for (unsigned i = 0; i < d.block_size; ++i) {
        Fiber& fiber = d.fibers[i];
        if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, entry, 0);
        fiber.wait = Wait::kRun;
    }
    std::vector<unsigned> order(d.block_size);
    std::iota(order.begin(), order.end(), 0u);
    do {
        std::shuffle(order.begin(), order.end(), d.random);
        for (const unsigned i : order) {
            if (d.fibers[i].wait != Wait::kRun) continue;
            d.current = i;
            swapcontext(&d.scheduler, &d.fibers[i].context);
        }
    } while (release());
}

inline void launch(dim3 grid, unsigned threads, std::size_t shared, const void* kernel,
                   const std::function<void()>& body) {
    Device& d = device();
    d.kernel = kernel;
    if (threads % 32 != 0 || threads == 0 || threads > 1024) fail("a block must be 1 to 32 whole warps");
    if (grid.y > 65535 || grid.z != 1) fail("grid too large");
    if (!grants(0, shared)) {
        d.error = cudaErrorInvalidValue;
        return;
    }
    ++d.launches;
    d.grid = grid;
    d.block_size = threads;
    std::vector<std::uint64_t> blocks(std::uint64_t{grid.x} * grid.y);
    std::iota(blocks.begin(), blocks.end(), std::uint64_t{0});
    std::shuffle(blocks.begin(), blocks.end(), d.random);
    for (const std::uint64_t block : blocks) {
        d.block_index = dim3(static_cast<unsigned>(block % grid.x), static_cast<unsigned>(block / grid.x));
        run_block(body, shared);
        if (d.error != cudaSuccess) return;
    }
}

inline std::uint64_t exchange(Wait wait, std::uint64_t value, int source = 0) {
    self().value = value;
    self().source = source;
    pause(wait);
    return self().result;
}

}  // namespace emulator

inline cudaError_t cudaGetLastError() {
    return std::exchange(emulator::device().error, cudaSuccess);
}
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
    *value = static_cast<int>(emulator::device().most_shared);
    return cudaSuccess;
}
// Stricter than a device: what was asked for may not become less, since another thread's launch relies on it.
inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
    std::size_t& asked = emulator::device().asked[kernel];
    const auto wanted = static_cast<std::size_t>(bytes);
    if (bytes < 0 || wanted > emulator::device().most_shared || wanted < asked) return cudaErrorInvalidValue;
    asked = wanted;
    return cudaSuccess;
}

#define threadIdx (dim3(emulator::device().current, 0, 0))
#define blockIdx (emulator::device().block_index)
#define blockDim (dim3(emulator::device().block_size))
#define gridDim (emulator::device().grid)

inline void __syncthreads() {
    emulator::pause(emulator::Wait::kBarrier);
}
inline void __syncwarp() {
    emulator::pause(emulator::Wait::kSyncWarp);
}
inline unsigned __ballot_sync(unsigned, bool condition) {
    return static_cast<unsigned>(emulator::exchange(emulator::Wait::kBallot, condition));
}
inline int __any_sync(unsigned mask, bool condition) {
    return __ballot_sync(mask, condition) != 0;
}
template <class T>
T __shfl_sync(unsigned, T value, int source) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = emulator::exchange(emulator::Wait::kShuffle, bits, source);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}
using std::max;
using std::min;
inline int __popc(unsigned word) {
    return std::popcount(word);
}
inline int __ffs(unsigned word) {
    return word == 0 ? 0 : std::countr_zero(word) + 1;
}
template <class T>
T atomicAdd(T* address, T value) {
    const T old = *address;
    *address = static_cast<T>(old + value);
    return old;
}
template <class T>
T atomicMin(T* address, T value) {
    const T old = *address;
    *address = std::min(old, value);
    return old;
}
