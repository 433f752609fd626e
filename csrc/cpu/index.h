// Codes that are searched many times: rows, and bit planes of the same rows.
//
// Contract. Rows are numbered by the order of their adding. Many threads may search while another adds: each
// search sees a whole prefix of the adds. Memory: the codes twice, and an eighth of them at 64 bits for the
// weights. Why both. Few queries are served best by rows, which a processor streams at the speed of its
// memory, where planes are some thirty streams; a row that passes the bound needs its distance, and reading
// it out of planes touches as many cache lines as the code has bits; users ask for rows. Planes lie in
// segments of 4 MB on huge pages where the system has them: a block of planes spans more pages than the
// processor's table of them holds. Segments never move, so adding copies rows at most.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "../retrieval.h"
#include "forks.h"
#include "multi_index_batch.h"
#include "multi_index_keeper.h"
#include "pages.h"
#include "planes.h"
#include "row_memory.h"
#include "scan.h"

namespace dmth_fast::cpu {

class Index {
  public:
    explicit Index(std::int64_t bytes) : layout_(bytes) {}

    std::int64_t bytes() const { return layout_.bytes; }
    std::int64_t size() const;
    std::int64_t memory() const;  // bytes held by rows, planes and tables

    // The number of the first row added; others may add at the same time. A std::logic_error where this
    // thread is searching the index, as a signal handler's may be.
    std::int64_t add(Codes codes, const Call& call);

    // Copies rows; false if an id does not exist.
    bool rows(const std::int64_t* ids, std::int64_t n, std::uint8_t* out) const;

    // The k nearest of the first `rows` rows, 1 <= k <= rows <= size: a size that was asked for stays valid.
    void search(Codes queries, std::int64_t rows, std::int64_t k, Method method, std::int32_t* distances,
                std::int64_t* ids, const Call& call) const;

    RangeResult range_search(Codes queries, std::int32_t radius, Method method, const Call& call) const;

    // Of rows that take part, kept.rows <= size; always a scan, since tables hold all rows. 1 <= k <=
    // kept.count.
    void search_kept(Codes queries, std::int64_t k, const Kept& kept, std::int32_t* distances,
                     std::int64_t* ids, const Call& call) const;
    RangeResult range_search_kept(Codes queries, std::int32_t radius, const Kept& kept,
                                  const Call& call) const;
    void range_count(Codes queries, std::int32_t radius, std::int64_t* counts, const Call& call) const;

    // Makes the tables of a multi-index for all rows now; multi_index_keeper.h says when else it happens.
    void build(const Call& call) const;

    // How the k nearest of the first `rows` rows would be found.
    struct Plan {
        int tables = 0;         // 0: none exist, everything is scanned
        std::int64_t rows = 0;  // in the tables
        std::int64_t distinct = 0;
        Outcome outcome{};
    };
    Plan explain(Codes queries, std::int64_t rows, std::int64_t k, Method method, const Call& call) const;

  private:
    TableKeeper::Prices prices_of(Method method, const Source& all, const MultiIndex* tables,
                                  const Call& call) const;

    std::uint8_t* data() const { return reinterpret_cast<std::uint8_t*>(rows_.data()); }

    Source source(std::int64_t rows) const { return {{data(), rows, layout_.bytes}, blocks_.data()}; }

    // A fork waits for a change to end. The child's copies of the other two locks may be held by threads that
    // it does not have: it gets new ones.
    void around_fork(Fork moment);

    // Holds the index for reading. Whoever waits to add holds the gate, so that a stream of searches cannot
    // keep it waiting for ever. A signal handler may read again what its own thread is reading: it passes.
    class Reading {
      public:
        explicit Reading(const Index& index);
        ~Reading();
        Reading(const Reading&) = delete;
        Reading& operator=(const Reading&) = delete;

      private:
        std::shared_lock<std::shared_mutex> lock_;
    };

    PlaneLayout layout_;
    std::int64_t count_ = 0;
    std::int64_t capacity_ = 0;  // rows
    RowMemory rows_;
    std::vector<std::unique_ptr<std::uint64_t, Free>> segments_;
    std::vector<const std::uint64_t*> blocks_;
    mutable TableKeeper keeper_;
    mutable std::mutex gate_;
    mutable std::shared_mutex mutex_;
    std::mutex change_;  // held while rows and planes change, by nobody who waits for anything else
    AtFork fork_{[this](Fork moment) { around_fork(moment); }};
};

}  // namespace dmth_fast::cpu
