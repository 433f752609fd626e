#include "multi_index_batch.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "range.h"
#include "search.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kMostPerTask = 16;
// A scan of those that have left must be so much dearer for them to try again.
constexpr double kDearer = 1.1;

// Some of the queries, side by side.
struct Chosen {
    std::vector<std::int64_t> numbers;
    std::vector<std::uint8_t> bytes;
    std::int64_t width;

    Chosen(Codes queries, const std::vector<std::uint8_t>& left, bool those_that_left)
        : width(queries.bytes) {
        for (std::int64_t q = 0; q < queries.rows; ++q) {
            if ((left[static_cast<std::size_t>(q)] != 0) != those_that_left) continue;
            numbers.push_back(q);
            bytes.insert(bytes.end(), queries.row(q), queries.row(q) + queries.bytes);
        }
    }
    std::int64_t count() const { return static_cast<std::int64_t>(numbers.size()); }
    Codes codes() const { return {bytes.data(), count(), width}; }
};

// Runs attempt(searcher, query, price, effort) for each query; notes those for which it says no. False if
// interrupted.
template <class Attempt>
bool decide(const Hashed& hashed, Codes queries, const Attempt& attempt, const Call& call, Outcome& outcome) {
    const auto count = static_cast<std::size_t>(queries.rows);
    const double free = MultiIndex::kNoPrice;
    outcome.left.assign(count, 1);
    outcome.efforts.assign(count, {});
    outcome.prices.assign(count, 0);
    const std::int64_t rows = hashed.source.codes.rows;
    const auto price_of = [&](std::int64_t together) {
        return hashed.price == nullptr ? free : hashed.price->of(together, rows, call.threads);
    };
    std::vector<std::unique_ptr<MultiIndex::Searcher>> searchers(static_cast<std::size_t>(call.threads));
    const auto pass = [&](const std::vector<std::int64_t>& numbers, double price) {
        const auto n = static_cast<std::int64_t>(numbers.size());
        const std::int64_t each = std::clamp<std::int64_t>(n / (4 * call.threads), 1, kMostPerTask);
        const auto task = [&](std::int64_t at, int worker) {
            auto& searcher = searchers[static_cast<std::size_t>(worker)];
            if (!searcher) searcher = hashed.tables.searcher(hashed.source.codes, *call.kernels, hashed.pace);
            const std::int64_t end = std::min(n, (at + 1) * each);
            const auto query = [&](std::int64_t i) {
                return queries.row(numbers[static_cast<std::size_t>(i)]);
            };
            for (std::int64_t i = at * each; i < end; ++i) {
                if (i + 2 < end) searcher->foresee(query(i + 2), false);
                if (i + 1 < end) searcher->foresee(query(i + 1), true);
                const auto q = static_cast<std::size_t>(numbers[static_cast<std::size_t>(i)]);
                outcome.prices[q] = price;
                if (stopped()) return;
                const bool done = attempt(*searcher, static_cast<std::int64_t>(q), price, outcome.efforts[q]);
                outcome.left[q] = done ? 0 : 1;
            }
        };
        return parallel_for((n + each - 1) / each, call.threads, task, call.interrupted);
    };
    std::vector<std::int64_t> left(count);
    for (std::size_t q = 0; q < count; ++q) left[q] = static_cast<std::int64_t>(q);
    std::vector<std::int64_t> asked = left;
    double price = price_of(queries.rows);
    bool finished = true;
    while (!asked.empty()) {
        finished = pass(asked, price);
        if (!finished) break;
        std::erase_if(left, [&](std::int64_t q) { return outcome.left[static_cast<std::size_t>(q)] == 0; });
        const double dearer = price_of(static_cast<std::int64_t>(left.size()));
        for (const std::int64_t q : left) outcome.prices[static_cast<std::size_t>(q)] = dearer;
        if (dearer < kDearer * price) break;
        price = dearer;
        asked = left;
        std::erase_if(asked, [&](std::int64_t q) {
            return outcome.efforts[static_cast<std::size_t>(q)].expected >= dearer;
        });
    }
    if (hashed.price == nullptr) outcome.prices.assign(count, 0);
    return finished;
}

Source rows_after(const Source& source, std::int64_t first) {
    return {{source.codes.row(first), source.codes.rows - first, source.codes.bytes}, nullptr};
}

// The first k of two lists in order, the second of rows with higher numbers.
void merge(const std::int32_t* distances, const std::int64_t* ids, std::int64_t n,
           const std::int32_t* later_distances, const std::int64_t* later_ids, std::int64_t later_n,
           std::int64_t first, std::int64_t k, std::int32_t* out_distances, std::int64_t* out_ids) {
    std::int64_t a = 0;
    std::int64_t b = 0;
    for (std::int64_t i = 0; i < k; ++i) {
        const bool later = a == n || (b < later_n && later_distances[b] < distances[a]);
        out_distances[i] = later ? later_distances[b] : distances[a];
        out_ids[i] = later ? first + later_ids[b] : ids[a];
        ++(later ? b : a);
    }
}

}  // namespace

Outcome search_hashed(const Hashed& hashed, Codes queries, std::int64_t k, std::int32_t* distances,
                      std::int64_t* ids, const Call& call) {
    const std::int64_t hashed_rows = hashed.tables.rows();
    const Source later = rows_after(hashed.source, hashed_rows);
    const std::int64_t columns = std::min(k, hashed_rows);
    std::vector<std::int32_t> first_distances;
    std::vector<std::int64_t> first_ids;
    std::int32_t* table_distances = distances;
    std::int64_t* table_ids = ids;
    if (later.codes.rows > 0) {
        first_distances.resize(static_cast<std::size_t>(queries.rows * columns));
        first_ids.resize(first_distances.size());
        table_distances = first_distances.data();
        table_ids = first_ids.data();
    }
    Outcome outcome;
    const auto attempt = [&](MultiIndex::Searcher& searcher, std::int64_t q, double price, Effort& effort) {
        return searcher.nearest(queries.row(q), columns, price, table_distances + q * columns,
                                table_ids + q * columns, effort);
    };
    if (!decide(hashed, queries, attempt, call, outcome)) return outcome;

    const Chosen scanned(queries, outcome.left, true);
    if (scanned.count() > 0) {
        std::vector<std::int32_t> found(static_cast<std::size_t>(scanned.count() * k));
        std::vector<std::int64_t> found_ids(found.size());
        search_source(hashed.source, scanned.codes(), k, found.data(), found_ids.data(), true, call);
        for (std::int64_t i = 0; i < scanned.count(); ++i) {
            const std::int64_t q = scanned.numbers[static_cast<std::size_t>(i)];
            std::copy_n(found.data() + i * k, k, distances + q * k);
            std::copy_n(found_ids.data() + i * k, k, ids + q * k);
        }
    }
    const Chosen kept(queries, outcome.left, false);
    if (later.codes.rows == 0 || kept.count() == 0) return outcome;
    const std::int64_t later_columns = std::min(k, later.codes.rows);
    std::vector<std::int32_t> found(static_cast<std::size_t>(kept.count() * later_columns));
    std::vector<std::int64_t> found_ids(found.size());
    search_source(later, kept.codes(), later_columns, found.data(), found_ids.data(), true, call);
    for (std::int64_t i = 0; i < kept.count(); ++i) {
        const std::int64_t q = kept.numbers[static_cast<std::size_t>(i)];
        merge(table_distances + q * columns, table_ids + q * columns, columns,
              found.data() + i * later_columns, found_ids.data() + i * later_columns, later_columns,
              hashed_rows, k, distances + q * k, ids + q * k);
    }
    return outcome;
}

Outcome explain_hashed(const Hashed& hashed, Codes queries, std::int64_t k, const Call& call) {
    const std::int64_t columns = std::min(k, hashed.tables.rows());
    std::vector<std::int32_t> distances(static_cast<std::size_t>(queries.rows * columns));
    std::vector<std::int64_t> ids(distances.size());
    Outcome outcome;
    const auto attempt = [&](MultiIndex::Searcher& searcher, std::int64_t q, double price, Effort& effort) {
        return searcher.nearest(queries.row(q), columns, price, distances.data() + q * columns,
                                ids.data() + q * columns, effort);
    };
    decide(hashed, queries, attempt, call, outcome);
    return outcome;
}

RangeResult range_hashed(const Hashed& hashed, Codes queries, std::int32_t radius, const Call& call) {
    const std::int64_t hashed_rows = hashed.tables.rows();
    const Source later = rows_after(hashed.source, hashed_rows);
    std::vector<std::vector<Near>> found(static_cast<std::size_t>(queries.rows));
    RangeResult result;
    result.offsets.assign(static_cast<std::size_t>(queries.rows) + 1, 0);
    Outcome outcome;
    const auto attempt = [&](MultiIndex::Searcher& searcher, std::int64_t q, double price, Effort& effort) {
        return searcher.within(queries.row(q), radius, price, found[static_cast<std::size_t>(q)], effort);
    };
    if (!decide(hashed, queries, attempt, call, outcome)) return result;

    // Each query's rows are its own, or those of a scan, then those added since.
    const Chosen scanned(queries, outcome.left, true);
    const Chosen kept(queries, outcome.left, false);
    RangeResult scan;
    RangeResult since;
    if (scanned.count() > 0) scan = range_source(hashed.source, scanned.codes(), radius, call);
    if (kept.count() > 0 && later.codes.rows > 0) since = range_source(later, kept.codes(), radius, call);
    const auto part = [](const RangeResult& some, std::size_t i) {
        return some.offsets.empty() ? 0 : some.offsets[i + 1] - some.offsets[i];
    };
    std::vector<std::size_t> places(static_cast<std::size_t>(queries.rows));
    for (std::size_t i = 0; i < scanned.numbers.size(); ++i) {
        const auto q = static_cast<std::size_t>(scanned.numbers[i]);
        places[q] = i;
        result.offsets[q + 1] = part(scan, i);
    }
    for (std::size_t i = 0; i < kept.numbers.size(); ++i) {
        const auto q = static_cast<std::size_t>(kept.numbers[i]);
        places[q] = i;
        result.offsets[q + 1] = static_cast<std::int64_t>(found[q].size()) + part(since, i);
    }
    for (std::size_t q = 0; q < found.size(); ++q) result.offsets[q + 1] += result.offsets[q];
    const auto total = static_cast<std::size_t>(result.offsets.back());
    result.distances = std::make_unique_for_overwrite<std::int32_t[]>(total);
    result.ids = std::make_unique_for_overwrite<std::int64_t[]>(total);
    const auto write = [&](std::int64_t query, int) {
        const auto q = static_cast<std::size_t>(query);
        std::int32_t* distances = result.distances.get() + result.offsets[q];
        std::int64_t* ids = result.ids.get() + result.offsets[q];
        const std::int64_t n = result.offsets[q + 1] - result.offsets[q];
        if (outcome.left[q] != 0) {
            const std::int64_t begin = scan.offsets[places[q]];
            std::copy_n(scan.distances.get() + begin, n, distances);
            std::copy_n(scan.ids.get() + begin, n, ids);
            return;
        }
        const std::int64_t later_n = part(since, places[q]);
        const std::int64_t begin = later_n > 0 ? since.offsets[places[q]] : 0;
        std::int64_t a = 0;
        for (std::int64_t i = 0, b = 0; i < n; ++i) {
            const bool take_later =
                a == n - later_n || (b < later_n && since.distances[static_cast<std::size_t>(begin + b)] <
                                                        found[q][static_cast<std::size_t>(a)].distance);
            if (take_later) {
                distances[i] = since.distances[static_cast<std::size_t>(begin + b)];
                ids[i] = hashed_rows + since.ids[static_cast<std::size_t>(begin + b)];
                ++b;
            } else {
                distances[i] = found[q][static_cast<std::size_t>(a)].distance;
                ids[i] = found[q][static_cast<std::size_t>(a)].id;
                ++a;
            }
        }
    };
    parallel_for(queries.rows, call.threads, write, call.interrupted);
    return result;
}

}  // namespace dmth_fast::cpu
