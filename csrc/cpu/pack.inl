// Kernel "pack": one row of values to one packed code.
//
// Contract: kernels.h. Included inside the target region of each instruction set.
// Reason: packing reads 4 to 8 bytes for each bit it writes, so it is bound by memory; eight compares to a
// byte, which the compiler turns into vector compares, keep up. Values are compared in double: a threshold
// that a float cannot hold is not rounded. NaN is found in the same pass, because it differs from itself.

static inline double widen(float value) {
    return static_cast<double>(value);
}
static inline double widen(double value) {
    return value;
}
static inline double widen(std::uint8_t value) {
    return static_cast<double>(value != 0);
}
static inline double widen(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t magnitude = half & 0x7fffu;
    float value;
    if (magnitude >= 0x0400u) {  // normal, infinite or NaN: rebias the exponent, or keep it all ones
        const std::uint32_t bias = magnitude >= 0x7c00u ? (255u - 31u) << 23 : (127u - 15u) << 23;
        const std::uint32_t word = sign | ((magnitude << 13) + bias);
        __builtin_memcpy(&value, &word, 4);
    } else {  // zero or subnormal: a whole number of 2^-24
        value = static_cast<float>(magnitude) * 0x1p-24f;
        if (sign != 0) value = -value;
    }
    return static_cast<double>(value);
}

template <class T>
static std::int64_t pack_row(const T* values, std::int64_t bits, double threshold, std::uint8_t* out) {
    bool clean = true;
    for (std::int64_t at = 0; at < bits; at += 8) {
        const std::int64_t count = bits - at < 8 ? bits - at : 8;
        unsigned byte = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            const double value = widen(values[at + i]);
            clean &= value == value;
            byte |= static_cast<unsigned>(value > threshold) << i;
        }
        out[at / 8] = static_cast<std::uint8_t>(byte);
    }
    if (clean) return -1;
    std::int64_t column = 0;
    while (widen(values[column]) == widen(values[column])) ++column;
    return column;
}
