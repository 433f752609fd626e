// What metrics are made of, from histograms of groups of ties: closed forms over the orders of equal
// distances, one query after another, queries in parallel.
//
// No result depends on the number of threads: a query's sum is made by one thread, and sums over queries are
// made of partial sums of tasks that are cut by the number of queries alone.
#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "../retrieval.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

// H_last - H_first for 0 <= first <= last, without the loss of subtracting two long sums: a table below 64,
// above it the logarithm and the Euler-Maclaurin tail.
class Harmonic {
  public:
    Harmonic() {
        for (int i = 1; i <= kSmall; ++i) table_[i] = table_[i - 1] + 1.0 / i;
    }

    double difference(std::int64_t first, std::int64_t last) const {
        const std::int64_t from = std::max<std::int64_t>(first, kSmall);
        const std::int64_t to = std::max<std::int64_t>(last, kSmall);
        const double low = static_cast<double>(from);
        double value = 0;
        if (to > from) value = std::log1p(static_cast<double>(to - from) / low) + (tail(to) - tail(from));
        if (first < kSmall) value += table_[std::min<std::int64_t>(last, kSmall)] - table_[first];
        return value;
    }

  private:
    static constexpr int kSmall = 64;

    static double tail(std::int64_t x) {
        const double inverse = 1.0 / static_cast<double>(x);
        const double square = inverse * inverse;
        return inverse / 2 - square * (1.0 / 12 - square * (1.0 / 120 - square / 252));
    }

    double table_[kSmall + 1] = {};
};

const Harmonic& harmonic() {
    static const Harmonic numbers;
    return numbers;
}

constexpr std::int64_t kTaskQueries = 64;

// each(q) for every query, in parallel.
template <class Each>
void for_queries(std::int64_t queries, const Call& call, const Each& each) {
    const auto some = [&](std::int64_t index, int) {
        const std::int64_t end = std::min(queries, (index + 1) * kTaskQueries);
        for (std::int64_t q = index * kTaskQueries; q < end; ++q) each(q);
    };
    parallel_for((queries + kTaskQueries - 1) / kTaskQueries, call.threads, some, call.interrupted);
}

// visit(start, n, marked) for each group of one query that holds relevant items: the items before it, its
// items, the relevant ones among them; until visit returns false. Relevant items that come first or last in
// their group make a group of their own, of which all are relevant.
template <class Visit>
void for_groups(const TiedGroups& of, std::int64_t q, const Visit& visit) {
    std::int64_t before = 0;
    for (std::int64_t i = q * of.groups; i < (q + 1) * of.groups; ++i) {
        const std::int64_t marked = std::max<std::int64_t>(of.relevant[i], 0);
        const std::int64_t all = std::max(of.every[i], marked);  // whatever came, no rank is below 0
        if (marked > 0) {
            const std::int64_t start = of.ties == Ties::kPessimistic ? before + all - marked : before;
            if (!visit(start, of.ties == Ties::kExpected ? all : marked, marked)) return;
        }
        before += all;
    }
}

// The mean of 1 / rank of the first of `marked` among n items that follow `start` others, in any order:
// P(x) = C(n - x, marked - 1) / C(n, marked) that it is the x-th.
double reciprocal_of_first(std::int64_t start, std::int64_t n, std::int64_t marked) {
    if (marked == 1) return harmonic().difference(start, start + n) / static_cast<double>(n);
    double probability = static_cast<double>(marked) / static_cast<double>(n);
    double value = 0;
    for (std::int64_t x = 1;; ++x) {
        value += probability / static_cast<double>(start + x);
        const std::int64_t rest = n - x;
        probability = probability * static_cast<double>(rest - marked + 1) /
                      static_cast<double>(std::max<std::int64_t>(rest, 1));
        // What is left adds less than the last binary digit of the sum.
        if (!(probability * static_cast<double>(rest + 1) > 1e-18)) return value;
    }
}

}  // namespace

void tied_sums(const TiedGroups& of, const std::int64_t* cutoffs, double* hits, double* precisions,
               const Call& call) {
    for_queries(of.queries, call, [&](std::int64_t q) {
        const std::int64_t k = cutoffs[q];
        std::int64_t earlier = 0;  // relevant items
        double found = 0;
        double total = 0;
        for_groups(of, q, [&](std::int64_t start, std::int64_t n, std::int64_t relevant) {
            if (start >= k) return false;
            const auto marked = static_cast<double>(relevant);
            const double share = marked / static_cast<double>(n);
            const auto taken = static_cast<double>(std::min(n, k - start));
            found += start + n <= k ? marked : taken * share;
            if (precisions != nullptr) {
                const double rho = n > 1 ? (marked - 1) / static_cast<double>(n - 1) : 0.0;
                const double step = harmonic().difference(start, std::min(start + n, k));
                const double first =
                    static_cast<double>(earlier) + 1 - rho * (static_cast<double>(start) + 1);
                total += share * (first * step + rho * taken);
            }
            earlier += relevant;
            return true;
        });
        hits[q] = found;
        if (precisions != nullptr) precisions[q] = total;
    });
}

void tied_discounts(const TiedGroups& of, const std::int64_t* cutoffs, const double* discounts, double* sums,
                    const Call& call) {
    for_queries(of.queries, call, [&](std::int64_t q) {
        const std::int64_t k = cutoffs[q];
        double sum = 0;
        for_groups(of, q, [&](std::int64_t start, std::int64_t n, std::int64_t relevant) {
            if (start >= k) return false;
            const double share = static_cast<double>(relevant) / static_cast<double>(n);
            sum += share * (discounts[std::min(start + n, k)] - discounts[start]);
            return true;
        });
        sums[q] = sum;
    });
}

void tied_firsts(const TiedGroups& of, double* ranks, double* reciprocals, const Call& call) {
    for_queries(of.queries, call, [&](std::int64_t q) {
        ranks[q] = std::numeric_limits<double>::infinity();
        reciprocals[q] = 0;
        for_groups(of, q, [&](std::int64_t start, std::int64_t n, std::int64_t marked) {
            ranks[q] =
                static_cast<double>(start) + static_cast<double>(n + 1) / static_cast<double>(marked + 1);
            reciprocals[q] = reciprocal_of_first(start, n, marked);
            return false;
        });
    });
}

void radius_curves(const RadiusCurves& of, const Call& call) {
    // More tasks would only add memory for their sums.
    constexpr std::int64_t kMostTasks = 128;
    const std::int64_t step = std::max(kTaskQueries, (of.queries + kMostTasks - 1) / kMostTasks);
    const std::int64_t tasks = (of.queries + step - 1) / step;
    const auto bins = static_cast<std::size_t>(of.groups);
    const auto levels = static_cast<std::size_t>(of.levels);
    const std::size_t width = 2 * bins + levels;  // sums of precision, of recall, of precision at the levels
    std::vector<double> parts(static_cast<std::size_t>(tasks) * width);
    std::mutex mutex;  // of the counts over queries: integers, whose sum has no order
    const auto sum = [&](std::int64_t index, int) {
        double* precision_sum = parts.data() + static_cast<std::size_t>(index) * width;
        double* recall_sum = precision_sum + bins;
        double* level_sum = recall_sum + bins;
        std::vector<std::int64_t> counts(3 * bins);  // empty balls, relevant items, items
        std::vector<double> precision(bins), recall(bins);
        for (std::int64_t q = index * step; q < std::min(of.queries, (index + 1) * step); ++q) {
            const std::int64_t* every = of.every + q * of.groups;
            const std::int64_t* relevant = of.relevant + q * of.groups;
            std::int64_t all_relevant = 0;
            for (std::size_t d = 0; d < bins; ++d) all_relevant += relevant[d];
            std::int64_t inside = 0, hits = 0, filled = 0;
            double mean = 0, mean_by_cost = 0;
            for (std::size_t d = 0; d < bins; ++d) {
                inside += every[d];
                hits += relevant[d];
                precision[d] = inside != 0 ? static_cast<double>(hits) / static_cast<double>(inside) : 0.0;
                filled += inside != 0;
                recall[d] =
                    all_relevant != 0 ? static_cast<double>(hits) / static_cast<double>(all_relevant) : 0.0;
                mean += precision[d];
                mean_by_cost += precision[d] * of.weights[d];
            }
            const std::int64_t balls = of.skip_empty ? filled : of.groups;
            of.mean[q] = balls != 0 ? mean / static_cast<double>(balls) : 0.0;
            of.mean_by_cost[q] = balls != 0 ? mean_by_cost / static_cast<double>(balls) : 0.0;
            if (!of.counted[q]) continue;
            for (std::size_t d = 0; d < bins; ++d) {
                precision_sum[d] += precision[d];
                recall_sum[d] += recall[d];
                counts[bins + d] += relevant[d];
                counts[2 * bins + d] += every[d];
            }
            for (std::int64_t d = 0; d < of.groups - filled; ++d) ++counts[static_cast<std::size_t>(d)];
            // The best precision from the first radius on whose recall reaches the level.
            std::size_t radius = bins;
            double best = 0;
            for (std::size_t level = levels; level-- > 0;) {
                while (radius > 0 && !(recall[radius - 1] < of.level[level] - 1e-12)) {
                    best = std::max(best, precision[--radius]);
                }
                level_sum[level] += best;
            }
        }
        const std::lock_guard lock(mutex);
        for (std::size_t d = 0; d < 3 * bins; ++d) of.counts[d] += counts[d];
    };
    parallel_for(tasks, call.threads, sum, call.interrupted);
    for (std::int64_t task = 0; task < tasks; ++task) {
        for (std::size_t i = 0; i < width; ++i)
            of.sums[i] += parts[static_cast<std::size_t>(task) * width + i];
    }
}

}  // namespace dmth_fast::cpu
