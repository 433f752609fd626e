#include "multi_index_keeper.h"

#include <algorithm>
#include <new>

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kTail = 8;  // rows in the tables for each row beside them
// Of a build by one thread, in ns a row: measured with 10 M codes of 64 bits, three tables.
constexpr double kBuildRow = 250;
// Of a row of the answer, in ns.
constexpr double kFound = 15;
// Rows below which kAuto does not ask for tables: a scan takes microseconds.
constexpr std::int64_t kFewRows = 1 << 14;

bool due(const MultiIndex& tables, std::int64_t rows) {
    return (rows - tables.rows()) * kTail > tables.rows();
}

}  // namespace

std::shared_ptr<const MultiIndex> TableKeeper::current() const {
    const std::lock_guard lock(mutex_);
    return tables_;
}

std::shared_ptr<const MultiIndex> TableKeeper::tables(const Source& source, Method method, const Call& call) {
    const std::int64_t rows = source.codes.rows;
    if (method == Method::kScan || rows == 0) return nullptr;
    bool wanted = method == Method::kTables;
    std::shared_ptr<const MultiIndex> tables;
    {
        const std::lock_guard lock(mutex_);
        tables = tables_;
        wanted = wanted || wanted_ || tables;
    }
    // Another thread has added and built since this search was told how many rows there are.
    if (tables && tables->rows() > rows) return nullptr;
    if (!wanted || (tables && !due(*tables, rows))) return tables;
    std::unique_lock lock(building_, std::defer_lock);
    if (tables || method == Method::kAuto) {
        if (!lock.try_lock()) return tables;
    } else {
        lock.lock();
    }
    tables = current();
    if (tables && tables->rows() > rows) return nullptr;
    if (tables && !due(*tables, rows)) return tables;
    tables = MultiIndex::build(source.codes, call);
    if (tables) {
        const std::lock_guard publish(mutex_);
        tables_ = tables;
        prices_.clear();
    }
    return tables;
}

bool TableKeeper::build(const Source& source, const Call& call) {
    const std::lock_guard lock(building_);
    const auto present = current();
    if (source.codes.rows == 0 || (present && present->rows() >= source.codes.rows)) return true;
    std::shared_ptr<const MultiIndex> tables = MultiIndex::build(source.codes, call);
    if (!tables) return false;
    const std::lock_guard publish(mutex_);
    tables_ = std::move(tables);
    prices_.clear();
    return true;
}

TableKeeper::Prices TableKeeper::prices(const Source& source, const MultiIndex* tables, const Call& call) {
    {
        const std::lock_guard lock(mutex_);
        for (const Prices& known : prices_) {
            if (known.kernels == call.kernels) return known;
        }
    }
    // Two threads may measure at once; one of them is heard.
    Prices prices{call.kernels, ScanPrice(source, call),
                  tables == nullptr ? 1 : tables->pace(source.codes, *call.kernels)};
    const std::lock_guard lock(mutex_);
    if (tables == tables_.get()) prices_.push_back(prices);
    return prices;
}

void TableKeeper::note(std::int64_t rows, std::int64_t bits, const std::vector<std::int32_t>& furthest,
                       std::int64_t found, double nanoseconds, int threads) {
    if (furthest.empty() || rows < kFewRows) return;
    const auto queries = static_cast<double>(furthest.size());
    const double shared = std::min<double>(threads, queries);  // tables give a query to one thread
    double saved = 0;
    for (const std::int32_t distance : furthest) {  // anything, if the scan was interrupted
        const std::int32_t radius = std::clamp(distance, 0, static_cast<std::int32_t>(bits));
        const double cost = expected_cost(rows, bits, radius) + kFound * static_cast<double>(found);
        saved += std::max(0.0, nanoseconds / queries - cost / shared);
    }
    const std::lock_guard lock(mutex_);
    saved_ += saved;
    if (saved_ >= kBuildRow * static_cast<double>(rows) / threads) wanted_ = true;
}

void TableKeeper::around_fork(Fork moment) {
    if (moment == Fork::kBefore) {
        mutex_.lock();
        return;
    }
    if (moment == Fork::kChild) new (&building_) std::recursive_mutex;
    mutex_.unlock();
}

}  // namespace dmth_fast::cpu
