#include "slab.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <tuple>
#include <vector>

namespace dmth_fast::cpu {
namespace {

constexpr std::size_t kRound = std::size_t{64} << 10;
constexpr std::size_t kMostKept = std::size_t{32} << 20;

struct Kept {
    std::mutex mutex;
    std::vector<std::pair<void*, std::size_t>> slabs;
    std::size_t bytes = 0;
};

Kept& kept() {
    static Kept* const instance = new Kept;  // never destroyed: threads may outlive the statics
    return *instance;
}

}  // namespace

Slab::Slab(std::size_t bytes) : size_((bytes + kRound - 1) / kRound * kRound) {
    {
        Kept& all = kept();
        const std::unique_lock lock(all.mutex, std::try_to_lock);
        if (lock) {
            for (auto& slab : all.slabs) {
                if (slab.second < size_ || slab.second > 4 * size_) continue;
                std::tie(data_, size_) = slab;
                all.bytes -= size_;
                slab = all.slabs.back();
                all.slabs.pop_back();
                return;
            }
        }
    }
    data_ = std::aligned_alloc(64, size_);
    if (data_ == nullptr) throw std::bad_alloc();
}

Slab::~Slab() {
    if (data_ == nullptr) return;
    {
        Kept& all = kept();
        const std::unique_lock lock(all.mutex, std::try_to_lock);
        if (lock && all.bytes + size_ <= kMostKept) {
            try {
                all.slabs.emplace_back(data_, size_);
                all.bytes += size_;
                return;
            } catch (const std::bad_alloc&) {
            }
        }
    }
    std::free(data_);
}

}  // namespace dmth_fast::cpu
