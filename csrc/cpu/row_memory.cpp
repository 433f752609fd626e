#include "row_memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dmth_fast::cpu {
namespace {

#if defined(__linux__)
// Null where the system refuses.
void* map_aligned(std::size_t bytes) {
    void* whole =
        mmap(nullptr, bytes + RowMemory::kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) return nullptr;
    auto* begin = static_cast<std::byte*>(whole);
    const std::size_t over =
        (RowMemory::kHuge - reinterpret_cast<std::uintptr_t>(begin) % RowMemory::kHuge) % RowMemory::kHuge;
    if (over > 0) munmap(begin, over);
    munmap(begin + over + bytes, RowMemory::kHuge - over);
    madvise(begin + over, bytes, MADV_HUGEPAGE);
    return begin + over;
}
#endif

}  // namespace

void RowMemory::grow(std::size_t bytes) {
    if (bytes <= size_) return;
#if defined(__linux__)
    if (bytes > kSmall) {
        const std::size_t whole = (bytes + kHuge - 1) / kHuge * kHuge;
        void* grown = map_aligned(whole);
        if (grown == nullptr) throw std::bad_alloc();
        if (mapped_) {
            // RowMemory move to the new place; both are aligned, so huge ones stay huge.
            if (mremap(data_, size_, size_, MREMAP_MAYMOVE | MREMAP_FIXED, grown) == MAP_FAILED) {
                munmap(grown, whole);
                throw std::bad_alloc();
            }
        } else if (data_ != nullptr) {
            std::memcpy(grown, data_, size_);
            std::free(data_);
        }
        data_ = grown;
        size_ = whole;
        mapped_ = true;
        return;
    }
#endif
    void* grown = std::realloc(data_, bytes);
    if (grown == nullptr) throw std::bad_alloc();
    data_ = grown;
    size_ = bytes;
}

RowMemory::~RowMemory() {
#if defined(__linux__)
    if (mapped_) {
        munmap(data_, size_);
        return;
    }
#endif
    std::free(data_);
}

}  // namespace dmth_fast::cpu
