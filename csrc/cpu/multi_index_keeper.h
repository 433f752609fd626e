// The tables of an index over its life: when they are built, and for how many of its rows.
//
// Contract. The caller holds the rows still throughout a call (a shared lock). A build reads them beside any
// number of searches, which go on with the tables of before or by a scan; whoever adds waits for it, and with
// whoever adds the searches behind it. Tables once published never change, and live as long as a search uses
// them. When. Rows added later are scanned until they are an eighth of those in the tables, which are then
// built anew. Method kTables builds at once. Method kAuto has no tables at first: each scan notes what its
// queries would have saved by tables, judged by the distances they found, and the tables are built once the
// savings have reached the price of a build: whatever comes, it costs at most twice the best choice.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "forks.h"
#include "multi_index.h"
#include "scan.h"
#include "scan_price.h"

namespace dmth_fast::cpu {

enum class Method { kScan, kTables, kAuto };

class TableKeeper {
  public:
    // Tables to search with, null for a scan of everything. Builds them if that is due; null if interrupted.
    std::shared_ptr<const MultiIndex> tables(const Source& source, Method method, const Call& call);

    // Builds tables of all rows unless there are such. False if interrupted.
    bool build(const Source& source, const Call& call);

    std::shared_ptr<const MultiIndex> current() const;

    // What a scan costs, and the pace of the tables if there are any; measured once an instruction set.
    struct Prices {
        const Kernels* kernels;
        ScanPrice scan;
        double pace = 1;
    };
    Prices prices(const Source& source, const MultiIndex* tables, const Call& call);

    // Queries were scanned in `nanoseconds`; `furthest` is how far each had to look, for `found` rows on
    // average.
    void note(std::int64_t rows, std::int64_t bits, const std::vector<std::int32_t>& furthest,
              std::int64_t found, double nanoseconds, int threads);

    // The child of a fork has none of the threads that may hold the locks.
    void around_fork(Fork moment);

  private:
    mutable std::mutex mutex_;  // of what follows, held for moments only
    std::shared_ptr<const MultiIndex> tables_;
    std::vector<Prices> prices_;
    double saved_ = 0;
    bool wanted_ = false;
    std::recursive_mutex building_;  // a signal handler may search while its thread builds
};

}  // namespace dmth_fast::cpu
