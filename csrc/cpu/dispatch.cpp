// Which instruction sets this machine runs, asked of the processor for exactly the features that each
// translation unit was compiled for.
#include "../retrieval.h"
#include "kernels.h"

namespace dmth_fast::cpu {
namespace {

bool runs_avx2() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
#else
    return false;
#endif
}

bool runs_avx512() {
#if defined(__x86_64__)
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bitalg") &&
           __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("gfni");
#else
    return false;
#endif
}

std::vector<const Kernels*> usable() {
    std::vector<const Kernels*> tables{portable_kernels()};
    if (avx2_kernels() != nullptr && runs_avx2()) tables.push_back(avx2_kernels());
    if (avx512_kernels() != nullptr && runs_avx512()) tables.push_back(avx512_kernels());
    if (neon_kernels() != nullptr) tables.push_back(neon_kernels());
    return tables;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* table : usable()) names.emplace_back(table->name);
    return names;
}

const Kernels* kernels_of(const std::string& isa) {
    for (const Kernels* table : usable()) {
        if (isa == table->name) return table;
    }
    return nullptr;
}

}  // namespace dmth_fast::cpu
