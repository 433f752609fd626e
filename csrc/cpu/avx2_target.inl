// Opens the region whose functions are compiled for AVX2. Not a per-file -m flag: inline functions of shared
// headers would be compiled for it too, and the linker might keep that copy for every caller.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif
