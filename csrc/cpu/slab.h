// Large scratch memory that is used again.
//
// Contract. A slab is 64-byte aligned and holds what its last owner left there. Slabs that are given back are
// kept for the next taker, 32 MB of them at most in the whole process. Why: a search needs megabytes for a
// few milliseconds; fresh from the system, each page of them costs a fault and is cleared first, a fifth of
// the time of a search for 5,000 neighbours. The lock is only tried: where it is taken, or a fork left it so,
// memory comes from the system.
#pragma once

#include <cstddef>
#include <utility>

namespace dmth_fast::cpu {

class Slab {
  public:
    Slab() = default;
    explicit Slab(std::size_t bytes);
    Slab(Slab&& other) noexcept { swap(other); }
    Slab& operator=(Slab&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Slab();

    template <class T>
    T* at(std::size_t offset) const {
        return reinterpret_cast<T*>(static_cast<std::byte*>(data_) + offset);
    }

  private:
    void swap(Slab& other) {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace dmth_fast::cpu
