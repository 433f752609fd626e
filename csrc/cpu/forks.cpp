#include "forks.h"

#include <pthread.h>

#include <list>
#include <mutex>

namespace dmth_fast::cpu {

struct Forks {
    std::mutex mutex;
    std::list<AtFork*> all;

    static Forks& instance() {
        static Forks* const forks = [] {
            pthread_atfork(
                [] {
                    instance().mutex.lock();
                    for (AtFork* each : instance().all) each->function_(Fork::kBefore);
                },
                [] { after(Fork::kParent); }, [] { after(Fork::kChild); });
            return new Forks;  // never destroyed: a fork may come while the process ends
        }();
        return *forks;
    }

    static void after(Fork side) {
        for (AtFork* each : instance().all) each->function_(side);
        instance().mutex.unlock();  // in the child, too: the forking thread, which owns it, is its only one
    }
};

AtFork::AtFork(std::function<void(Fork)> function) : function_(std::move(function)) {
    Forks& forks = Forks::instance();
    const std::lock_guard lock(forks.mutex);
    forks.all.push_back(this);
}

AtFork::~AtFork() {
    Forks& forks = Forks::instance();
    const std::lock_guard lock(forks.mutex);
    forks.all.remove(this);
}

}  // namespace dmth_fast::cpu
