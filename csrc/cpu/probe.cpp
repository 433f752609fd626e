// The rate at which threads read memory: the bound of one query over a large database.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "../retrieval.h"
#include "threads.h"

namespace dmth_fast::cpu {

std::uint64_t read_probe(const std::uint8_t* data, std::int64_t bytes, const Call& call) {
    // As many parts as a search has slices: one a thread, so that nothing but reading is measured.
    const std::int64_t part = (bytes / call.threads + 63) / 64 * 64;
    std::atomic<std::uint64_t> all{0};
    const auto read = [&](std::int64_t i, int) {
        const std::int64_t end = std::min(bytes, (i + 1) * part);
        std::uint64_t sum = 0;
        std::int64_t at = i * part;
        for (; at + 64 <= end; at += 64) {  // one load a line: as many lines in flight as the processor can
            std::uint64_t word;
            std::memcpy(&word, data + at, sizeof word);
            sum ^= word;
        }
        for (; at < end; ++at) sum ^= data[at];
        all.fetch_xor(sum, std::memory_order_relaxed);
    };
    parallel_for(call.threads, call.threads, read, call.interrupted);
    return all.load();
}

}  // namespace dmth_fast::cpu
