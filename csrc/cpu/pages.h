// Large arrays on huge pages where the system has them.
//
// Memory that is read at random spans more small pages than the processor's table of them holds; each read
// would then cost a walk through the page table as well. Not initialised, never moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dmth_fast::cpu {

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

// At least `bytes` bytes, aligned to a cache line; std::bad_alloc if there are none.
inline void* allocate_pages(std::size_t bytes) {
    const std::size_t align = bytes < kHugePage ? 64 : kHugePage;
    const std::size_t whole = (bytes + align - 1) / align * align;
    void* memory = std::aligned_alloc(align, whole == 0 ? align : whole);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (whole >= kHugePage) madvise(memory, whole, MADV_HUGEPAGE);
#endif
    return memory;
}

template <class T>
class PagedArray {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    PagedArray() = default;
    explicit PagedArray(std::int64_t size)
        : data_(static_cast<T*>(allocate_pages(static_cast<std::size_t>(size) * sizeof(T)))), size_(size) {}

    std::int64_t size() const { return size_; }
    std::int64_t bytes() const { return size_ * static_cast<std::int64_t>(sizeof(T)); }
    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    T& operator[](std::int64_t i) { return data_.get()[i]; }
    const T& operator[](std::int64_t i) const { return data_.get()[i]; }

  private:
    std::unique_ptr<T, Free> data_;
    std::int64_t size_ = 0;
};

}  // namespace dmth_fast::cpu
