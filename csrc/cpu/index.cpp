#include "index.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>

#include "range.h"
#include "search.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kRowsAhead = 32;  // fetched before they are copied

constexpr std::int64_t kSegmentBytes = std::int64_t{4} << 20;

std::int64_t segment_blocks(const PlaneLayout& layout) {
    return std::max<std::int64_t>(1, kSegmentBytes / (layout.words() * 8));
}

// What this thread is reading, the innermost last: usually one index, more where a signal handler searches.
thread_local std::vector<const Index*> read_here;

bool reads(const Index* index) {
    return std::find(read_here.begin(), read_here.end(), index) != read_here.end();
}

}  // namespace

Index::Reading::Reading(const Index& index) {
    if (!reads(&index)) {
        const std::lock_guard gate(index.gate_);
        lock_ = std::shared_lock(index.mutex_);
    }
    read_here.push_back(&index);
}

Index::Reading::~Reading() {
    read_here.pop_back();
}

std::int64_t Index::size() const {
    const Reading lock(*this);
    return count_;
}

std::int64_t Index::memory() const {
    const Reading lock(*this);
    const auto tables = keeper_.current();
    return capacity_ * layout_.bytes + (tables ? tables->memory() : 0) +
           static_cast<std::int64_t>(segments_.size()) * segment_blocks(layout_) * layout_.words() * 8;
}

void Index::around_fork(Fork moment) {
    if (moment == Fork::kBefore) {
        change_.lock();
        keeper_.around_fork(moment);
        return;
    }
    if (moment == Fork::kChild) {
        new (&gate_) std::mutex;
        new (&mutex_) std::shared_mutex;
    }
    keeper_.around_fork(moment);
    change_.unlock();
}

std::int64_t Index::add(Codes codes, const Call& call) {
    if (codes.rows == 0) return size();
    if (reads(this)) {
        throw std::logic_error(
            "an index cannot grow while the same thread searches it (in a signal handler)");
    }
    const std::lock_guard gate(gate_);
    const std::unique_lock lock(mutex_);
    const std::lock_guard change(change_);
    const std::int64_t begin = count_;
    const std::int64_t total = begin + codes.rows;
    if (total > capacity_) {
        const std::int64_t wanted = std::max(total, capacity_ + capacity_ / 2);
        rows_.grow(static_cast<std::size_t>(wanted * layout_.bytes));
        capacity_ = wanted;
    }
    const std::int64_t old_blocks = static_cast<std::int64_t>(blocks_.size());
    const std::int64_t new_blocks = (total + kBlockRows - 1) / kBlockRows;
    const std::int64_t per_segment = segment_blocks(layout_);
    blocks_.reserve(static_cast<std::size_t>(new_blocks));
    while (static_cast<std::int64_t>(segments_.size()) * per_segment < new_blocks) {
        const auto bytes = static_cast<std::size_t>(per_segment * layout_.words() * 8);
        segments_.emplace_back(static_cast<std::uint64_t*>(allocate_pages(bytes)));
    }
    std::memcpy(data() + begin * layout_.bytes, codes.data,
                static_cast<std::size_t>(codes.rows * codes.bytes));
    for (std::int64_t b = old_blocks; b < new_blocks; ++b) {
        blocks_.push_back(segments_[static_cast<std::size_t>(b / per_segment)].get() +
                          b % per_segment * layout_.words());
    }
    const std::int64_t first = begin / kBlockRows;  // the last block may have had room left
    const auto build = [&](std::int64_t i, int) {
        const std::int64_t row = (first + i) * kBlockRows;
        const std::int64_t at = first + i;
        std::uint64_t* block =
            segments_[static_cast<std::size_t>(at / per_segment)].get() + at % per_segment * layout_.words();
        call.kernels->transpose(data() + row * layout_.bytes, std::min(kBlockRows, total - row),
                                layout_.bytes, block);
        call.kernels->weigh(layout_.bytes, block);
    };
    parallel_for(new_blocks - first, call.threads, build, nullptr);  // never half an add
    count_ = total;
    return begin;
}

bool Index::rows(const std::int64_t* ids, std::int64_t n, std::uint8_t* out) const {
    const Reading lock(*this);
    const auto stored = [&](std::int64_t id) { return id >= 0 && id < count_; };
    if (!std::all_of(ids, ids + n, stored)) return false;
    const Codes all = source(count_).codes;
    const auto copy = [&](auto bytes) {
        for (std::int64_t i = 0; i < n; ++i) {
            if (i + kRowsAhead < n) __builtin_prefetch(all.row(ids[i + kRowsAhead]));
            std::memcpy(out + i * bytes, all.row(ids[i]), static_cast<std::size_t>(bytes));
        }
    };
    // A copy of a fixed size is an instruction or two.
    if (all.bytes == 8) {
        copy(std::integral_constant<std::int64_t, 8>());
    } else {
        copy(all.bytes);
    }
    return true;
}

// Nothing is measured where nothing is chosen.
TableKeeper::Prices Index::prices_of(Method method, const Source& all, const MultiIndex* tables,
                                     const Call& call) const {
    if (method == Method::kTables || all.codes.rows == 0) return {call.kernels, {}, 1};
    return keeper_.prices(all, tables, call);
}

void Index::search(Codes queries, std::int64_t rows, std::int64_t k, Method method, std::int32_t* distances,
                   std::int64_t* ids, const Call& call) const {
    const Reading lock(*this);
    const Source all = source(rows);
    if (const auto tables = keeper_.tables(all, method, call)) {
        const TableKeeper::Prices prices = prices_of(method, all, tables.get(), call);
        search_hashed({*tables, all, method == Method::kAuto ? &prices.scan : nullptr, prices.pace}, queries,
                      k, distances, ids, call);
        return;
    }
    const auto start = std::chrono::steady_clock::now();
    search_source(all, queries, k, distances, ids, true, call);
    if (method != Method::kAuto) return;
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
    std::vector<std::int32_t> furthest;
    for (std::int64_t q = 0; q < queries.rows; ++q) furthest.push_back(distances[(q + 1) * k - 1]);
    keeper_.note(rows, layout_.planes, furthest, k, taken.count(), call.threads);
}

RangeResult Index::range_search(Codes queries, std::int32_t radius, Method method, const Call& call) const {
    const Reading lock(*this);
    const Source all = source(count_);
    if (const auto tables = keeper_.tables(all, method, call)) {
        const TableKeeper::Prices prices = prices_of(method, all, tables.get(), call);
        return range_hashed({*tables, all, method == Method::kAuto ? &prices.scan : nullptr, prices.pace},
                            queries, radius, call);
    }
    const auto start = std::chrono::steady_clock::now();
    RangeResult result = range_source(all, queries, radius, call);
    if (method != Method::kAuto) return result;
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
    const std::vector<std::int32_t> furthest(static_cast<std::size_t>(queries.rows), radius);
    const std::int64_t found = result.offsets.back() / std::max<std::int64_t>(1, queries.rows);
    keeper_.note(count_, layout_.planes, furthest, found, taken.count(), call.threads);
    return result;
}

void Index::search_kept(Codes queries, std::int64_t k, const Kept& kept, std::int32_t* distances,
                        std::int64_t* ids, const Call& call) const {
    const Reading lock(*this);
    Source part = source(kept.rows);
    part.kept = kept;
    search_source(part, queries, k, distances, ids, true, call);
}

RangeResult Index::range_search_kept(Codes queries, std::int32_t radius, const Kept& kept,
                                     const Call& call) const {
    const Reading lock(*this);
    Source part = source(kept.rows);
    part.kept = kept;
    return range_source(part, queries, radius, call);
}

void Index::build(const Call& call) const {
    const Reading lock(*this);
    keeper_.build(source(count_), call);
}

Index::Plan Index::explain(Codes queries, std::int64_t rows, std::int64_t k, Method method,
                           const Call& call) const {
    const Reading lock(*this);
    const Source all = source(rows);
    const auto tables = keeper_.tables(all, method, call);
    const TableKeeper::Prices prices = prices_of(method, all, tables.get(), call);
    if (tables) {
        return {tables->tables(), tables->rows(), tables->distinct(),
                explain_hashed({*tables, all, method == Method::kAuto ? &prices.scan : nullptr, prices.pace},
                               queries, k, call)};
    }
    const auto count = static_cast<std::size_t>(queries.rows);
    Plan plan;
    plan.outcome.left.assign(count, 1);
    plan.outcome.efforts.assign(count, {});
    plan.outcome.prices.assign(count, prices.scan.of(queries.rows, rows, call.threads));
    return plan;
}

void Index::range_count(Codes queries, std::int32_t radius, std::int64_t* counts, const Call& call) const {
    const Reading lock(*this);
    count_source(source(count_), queries, radius, counts, call);
}

}  // namespace dmth_fast::cpu
