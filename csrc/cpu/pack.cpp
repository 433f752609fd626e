// Values to packed codes, in parallel over rows.
#include <algorithm>
#include <atomic>

#include "../retrieval.h"
#include "kernels.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kTaskValues = 1 << 18;

template <class T>
std::int64_t pack_rows(const T* values, std::int64_t rows, std::int64_t bits, double threshold,
                       std::uint8_t* out,
                       std::int64_t (*pack_row)(const T*, std::int64_t, double, std::uint8_t*),
                       const Call& call) {
    const std::int64_t bytes = (bits + 7) / 8;
    const std::int64_t step = std::max<std::int64_t>(1, kTaskValues / bits);
    std::atomic<std::int64_t> first_nan{rows * bits};
    const auto task = [&](std::int64_t index, int) {
        const std::int64_t end = std::min(rows, (index + 1) * step);
        for (std::int64_t row = index * step; row < end; ++row) {
            const std::int64_t column = pack_row(values + row * bits, bits, threshold, out + row * bytes);
            if (column < 0) continue;
            const std::int64_t at = row * bits + column;
            std::int64_t known = first_nan.load();
            while (at < known && !first_nan.compare_exchange_weak(known, at)) {
            }
            return;
        }
    };
    parallel_for((rows + step - 1) / step, call.threads, task, call.interrupted);
    return first_nan.load() < rows * bits ? first_nan.load() : -1;
}

}  // namespace

std::int64_t pack(const void* values, Scalar type, std::int64_t rows, std::int64_t bits, double threshold,
                  std::uint8_t* out, const Call& call) {
    const Kernels& kernels = *call.kernels;
    switch (type) {
        case Scalar::kHalf:
            return pack_rows(static_cast<const std::uint16_t*>(values), rows, bits, threshold, out,
                             kernels.pack_half, call);
        case Scalar::kFloat:
            return pack_rows(static_cast<const float*>(values), rows, bits, threshold, out,
                             kernels.pack_float, call);
        case Scalar::kDouble:
            return pack_rows(static_cast<const double*>(values), rows, bits, threshold, out,
                             kernels.pack_double, call);
        case Scalar::kBool:
            return pack_rows(static_cast<const std::uint8_t*>(values), rows, bits, threshold, out,
                             kernels.pack_bool, call);
    }
    return -1;
}

}  // namespace dmth_fast::cpu
