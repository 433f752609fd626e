// Memory that grows without copies and lies on huge pages where the system has them.
//
// Contract. grow() keeps what is there; the address may change. Why: one query streams all rows, and on pages
// of 4 KB the processor waits for its table of them: 2.0 against 3.4 G rows of 64 bits a second at 10 M on
// Zen
// 4. Up to kSmall bytes memory comes from malloc: a huge page for a few rows would be a waste.
#pragma once

#include <cstddef>

namespace dmth_fast::cpu {

class RowMemory {
  public:
    static constexpr std::size_t kHuge = std::size_t{2} << 20;
    static constexpr std::size_t kSmall = std::size_t{1} << 20;

    RowMemory() = default;
    RowMemory(const RowMemory&) = delete;
    RowMemory& operator=(const RowMemory&) = delete;
    ~RowMemory();

    void grow(std::size_t bytes);  // throws bad_alloc, and then leaves everything as it was

    std::byte* data() const { return static_cast<std::byte*>(data_); }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
    bool mapped_ = false;
};

}  // namespace dmth_fast::cpu
