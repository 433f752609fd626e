// Values to codes. A warp takes 32 neighbouring columns of a row: one coalesced load, one ballot, up to four
// bytes. Bound by reading the values: 32 bytes of float32 a byte of code.
#include <cmath>
#include <cstring>

#include "launches.cuh"

namespace dmth_fast::cuda {
namespace {

constexpr unsigned kThreads = 256;

__device__ __forceinline__ float half_to_float(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
    std::uint32_t bits;
    if (rest >= 0x7c00u) {
        bits = 0x7f800000u | (rest & 0x3ffu) << 13;  // infinity, NaN
    } else if (rest >= 0x400u) {
        bits = (rest << 13) + 0x38000000u;
    } else {
        return (sign != 0 ? -1.0f : 1.0f) * static_cast<float>(rest) *
               5.9604644775390625e-8f;  // subnormal: 2^-24
    }
    bits |= sign;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

template <Element type>
struct Reader;
template <>
struct Reader<Element::kFloat> {
    using Stored = float;
    using Compared = float;
    __device__ static float value(float stored) { return stored; }
};
template <>
struct Reader<Element::kDouble> {
    using Stored = double;
    using Compared = double;
    __device__ static double value(double stored) { return stored; }
};
template <>
struct Reader<Element::kHalf> {
    using Stored = std::uint16_t;
    using Compared = float;
    __device__ static float value(std::uint16_t stored) { return half_to_float(stored); }
};
template <>
struct Reader<Element::kBrain> {
    using Stored = std::uint16_t;
    using Compared = float;
    __device__ static float value(std::uint16_t stored) {
        const std::uint32_t bits = static_cast<std::uint32_t>(stored) << 16;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
};
template <>
struct Reader<Element::kBool> {
    using Stored = std::uint8_t;
    using Compared = float;
    __device__ static float value(std::uint8_t stored) { return stored != 0 ? 1.0f : 0.0f; }
};

template <Element type>
__global__ void __launch_bounds__(kThreads)
    pack_kernel(const typename Reader<type>::Stored* values, std::int64_t rows, std::int64_t bits,
                typename Reader<type>::Compared threshold, std::uint8_t* out, unsigned long long* first_nan) {
    const std::int64_t bytes = (bits + 7) / 8, chunks = (bits + 31) / 32;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * warps();
    for (std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * warps() + warp(); item < rows * chunks;
         item += step) {
        const std::int64_t row = item / chunks, first = item % chunks * 32, column = first + lane();
        bool set = false;
        if (column < bits) {
            const auto value = Reader<type>::value(values[row * bits + column]);
            set = value > threshold;
            if (value != value) atomicMin(first_nan, static_cast<unsigned long long>(row * bits + column));
        }
        const unsigned word = ballot(set);
        const std::int64_t byte = first / 8 + lane();
        if (lane() < 4 && byte < bytes)
            out[row * bytes + byte] = static_cast<std::uint8_t>(word >> (8 * lane()));
    }
}

template <Element type>
void run_pack(const void* values, std::int64_t rows, std::int64_t bits, double threshold, std::uint8_t* out,
              unsigned long long* first_nan, cudaStream_t stream) {
    using Compared = typename Reader<type>::Compared;
    // A float is above the threshold exactly if it is above the greatest float that is not above the
    // threshold.
    auto limit = static_cast<Compared>(threshold);
    if (static_cast<double>(limit) > threshold)
        limit = std::nextafter(limit, -std::numeric_limits<Compared>::infinity());
    const std::int64_t items = rows * ((bits + 31) / 32);
    const std::int64_t blocks = (items + kThreads / 32 - 1) / (kThreads / 32);
    const auto grid = static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
    launch("pack", pack_kernel<type>, dim3(grid), kThreads, 0, stream,
           static_cast<const typename Reader<type>::Stored*>(values), rows, bits, limit, out, first_nan);
}

}  // namespace

void pack(const void* values, Element type, std::int64_t rows, std::int64_t bits, double threshold,
          std::uint8_t* out, unsigned long long* first_nan, DmthStream stream) {
    check(cudaMemsetAsync(first_nan, 0xff, sizeof(*first_nan), stream), "pack: clear");
    switch (type) {
        case Element::kHalf:
            return run_pack<Element::kHalf>(values, rows, bits, threshold, out, first_nan, stream);
        case Element::kBrain:
            return run_pack<Element::kBrain>(values, rows, bits, threshold, out, first_nan, stream);
        case Element::kFloat:
            return run_pack<Element::kFloat>(values, rows, bits, threshold, out, first_nan, stream);
        case Element::kDouble:
            return run_pack<Element::kDouble>(values, rows, bits, threshold, out, first_nan, stream);
        case Element::kBool:
            return run_pack<Element::kBool>(values, rows, bits, threshold, out, first_nan, stream);
    }
}

}  // namespace dmth_fast::cuda
