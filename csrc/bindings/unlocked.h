// Work without the interpreter's lock, in threads that may outlive the interpreter.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>
#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

namespace dmth_fast {

// Runs what may end this thread. Before Python 3.14 a daemon thread that asks for the interpreter's lock
// while the interpreter ends is unwound by force, through code that has no lock and may not throw; since then
// it is left to sleep, as here. The process ends without it.
template <class Body>
decltype(auto) or_sleep(const Body& body) {
#ifdef __GLIBCXX__
    try {
        return body();
    } catch (const abi::__forced_unwind&) {
        for (;;) pause();
    }
#else
    return body();
#endif
}

// Without the interpreter's lock from here to the end of the block.
class Unlocked {
  public:
    Unlocked() : state_(PyEval_SaveThread()) {}
    ~Unlocked() {
        or_sleep([this] { PyEval_RestoreThread(state_); });
    }
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;

  private:
    PyThreadState* state_;
};

}  // namespace dmth_fast
