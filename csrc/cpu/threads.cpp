#include "threads.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>

namespace dmth_fast::cpu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kPollInterval = milliseconds(50);

struct Job {
    const std::function<void(std::int64_t, int)>& task;
    std::int64_t tasks;
    int threads;
    const std::function<bool()>& interrupted;
    bool was_interrupted = false;
    steady_clock::time_point asked = steady_clock::now();
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> stopped{false};
    int joined = 1;  // threads that ever took part, the caller among them; guarded by the pool's mutex
    int active = 0;  // helpers at work; guarded by the pool's mutex
    std::exception_ptr error = nullptr;
    std::condition_variable idle{};

    // From the calling thread only.
    void ask() {
        const auto now = steady_clock::now();
        if (!interrupted || now - asked < kPollInterval) return;
        asked = now;
        if (interrupted()) was_interrupted = stopped = true;
    }
};

// The job that this thread works on, and whether it is the job's calling thread.
thread_local Job* current = nullptr;
thread_local bool calling = false;

class Pool {
  public:
    bool run(Job& job) {
        const int helpers = job.threads - 1;
        {
            std::lock_guard lock(mutex_);
            grow(helpers);
            jobs_.push_back(&job);
        }
        for (int i = 0; i < helpers; ++i) wake_.notify_one();

        work(job, 0);

        std::unique_lock lock(mutex_);
        jobs_.remove(&job);
        while (job.active > 0) {
            job.idle.wait_for(lock, kPollInterval);
            if (job.active == 0) break;
            lock.unlock();  // asking may take another lock (the interpreter's), whose owner may wait for this
                            // one
            job.ask();
            lock.lock();
        }
        if (job.error) std::rethrow_exception(job.error);
        return !job.was_interrupted;
    }

  private:
    void grow(int helpers) {
        while (static_cast<int>(size_) < helpers) {
            sigset_t all;
            sigset_t old;
            sigfillset(&all);
            pthread_sigmask(SIG_SETMASK, &all, &old);  // signals belong to the program's own threads
            try {
                std::thread([this] { serve(); }).detach();
                ++size_;
            } catch (
                const std::system_error&) {  // the system has no more threads: fewer help, none is missing
                pthread_sigmask(SIG_SETMASK, &old, nullptr);
                return;
            }
            pthread_sigmask(SIG_SETMASK, &old, nullptr);
        }
    }

    void serve() {
        std::unique_lock lock(mutex_);
        for (;;) {
            const auto open = std::find_if(jobs_.begin(), jobs_.end(), [](const Job* job) {
                return job->joined < job->threads && job->next.load() < job->tasks && !job->stopped;
            });
            if (open == jobs_.end()) {
                wake_.wait(lock);
                continue;
            }
            Job& job = **open;
            const int worker = job.joined++;
            ++job.active;
            lock.unlock();
            work(job, worker);
            lock.lock();
            if (--job.active == 0) job.idle.notify_one();
        }
    }

    void work(Job& job, int worker) {
        // A signal handler that runs while the caller asks may start a job of its own.
        const Place outer{current, calling};
        current = &job;
        calling = worker == 0;
        while (!stopped()) {
            const std::int64_t i = job.next.fetch_add(1);
            if (i >= job.tasks) break;
            try {
                job.task(i, worker);
            } catch (...) {
                const std::lock_guard lock(mutex_);
                if (!job.error) job.error = std::current_exception();
                job.stopped = true;
            }
        }
        current = outer.job;
        calling = outer.calling;
    }

    struct Place {
        Job* job;
        bool calling;
    };

    std::mutex mutex_;
    std::condition_variable wake_;
    std::list<Job*> jobs_;
    std::size_t size_ = 0;
};

std::atomic<Pool*> pool{nullptr};

Pool& instance() {
    static std::once_flag once;
    std::call_once(once, [] {
        pool = new Pool;
        // The child of a fork owns none of the parent's threads and may find its mutex locked: start afresh.
        pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
    });
    return *pool;
}

}  // namespace

bool parallel_for(std::int64_t tasks, int threads, const std::function<void(std::int64_t, int)>& task,
                  const std::function<bool()>& interrupted) {
    if (tasks <= 0) return true;
    Job job{.task = task,
            .tasks = tasks,
            .threads = static_cast<int>(std::clamp<std::int64_t>(tasks, 1, threads)),
            .interrupted = interrupted};
    return instance().run(job);
}

bool stopped() {
    if (current == nullptr) return false;
    if (calling) current->ask();
    return current->stopped;
}

}  // namespace dmth_fast::cpu
