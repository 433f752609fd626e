// Time that the calling thread has spent computing: what others do on the machine does not count.
#pragma once

#include <ctime>

namespace dmth_fast::cpu {

inline double thread_nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

}  // namespace dmth_fast::cpu
