// A persistent pool of threads for short, uneven tasks.
//
// Contract. `parallel_for` runs task(i, worker) once for each i in [0, tasks), at most `threads` at a time,
// worker in [0, threads) and used by one thread at a time; tasks start in ascending order; the calling thread
// takes part. It may be called from several threads at once, not from inside a task. The first exception of a
// task is rethrown; `interrupted` is asked only from the calling thread, and once it says true no further
// task starts. Returns false if it was interrupted.
//
// Not OpenMP: its pool hangs in a forked child and brings a second runtime beside torch's. Here a fork leaves
// the child an empty pool that grows again; idle threads sleep on a condition variable. The pool is never
// destroyed, so that leaving the process waits for nothing.
#pragma once

#include <cstdint>
#include <functional>

namespace dmth_fast::cpu {

bool parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t, int)>& task,
                  const std::function<bool()>& interrupted);

// For a task to ask between its tiles: whether it should return early. On the calling thread of parallel_for
// this is where `interrupted` is asked, at most every 50 ms.
bool stopped();

}  // namespace dmth_fast::cpu
