// What to do around a fork of the process, for objects with locks that other threads may hold then.
//
// Contract. While an AtFork lives, its function is called with kBefore before each fork, on the forking
// thread, and with kParent or kChild behind it. It may wait only for what needs neither the interpreter's
// lock nor a fork. Make it the last member, so that it goes first.
#pragma once

#include <functional>

namespace dmth_fast::cpu {

enum class Fork { kBefore, kParent, kChild };

class AtFork {
  public:
    explicit AtFork(std::function<void(Fork)> function);
    AtFork(const AtFork&) = delete;
    AtFork& operator=(const AtFork&) = delete;
    ~AtFork();

  private:
    friend struct Forks;
    std::function<void(Fork)> function_;
};

}  // namespace dmth_fast::cpu
