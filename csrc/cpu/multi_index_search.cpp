// One query against the tables: growing balls of keys, cheapest first, until the answer is complete.
#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "multi_index_nearest.h"
#include "multi_index_price.h"
#include "multi_index_tables.h"

namespace dmth_fast::cpu {
namespace {

// Up to this part of the price a search goes on without a forecast: the first keys are what it is made from.
constexpr double kExplored = .1;

// How much nearer the k-th row will prove than the best k that have turned up, by the part of the price that
// was spent on them.
std::int32_t slack(double spent) {
    return spent < .2 ? 2 : spent < .35 ? 1 : 0;
}

template <class Row>
class TableSearcher final : public MultiIndex::Searcher {
  public:
    TableSearcher(const Tables<Row>& tables, Codes codes, const Kernels& kernels, double pace)
        : tables_(tables),
          codes_(codes),
          kernels_(kernels),
          pace_(pace),
          nearest_(tables.groups(), codes.bytes * 8),
          sides_(static_cast<std::size_t>(tables.tables())),
          reached_(sides_.size()),
          asked_(static_cast<std::size_t>((codes.bytes + 7) / 8)),
          differ_(asked_.size()) {}

    void foresee(const std::uint8_t* query, bool late) const override {
        for (int i = 0; i < tables_.tables(); ++i) {
            const Table<Row>& table = tables_.table(i);
            const Row* offset = table.offsets.data() + tables_.layout().key(i, query);
            __builtin_prefetch(offset);
            if (!late) continue;
            __builtin_prefetch(table.folds.data() + offset[0]);
            __builtin_prefetch(table.firsts.data() + offset[0]);
        }
    }

    bool nearest(const std::uint8_t* query, std::int64_t k, double price, std::int32_t* distances,
                 std::int64_t* ids, Effort& effort) override {
        nearest_.reset(k);
        price /= pace_;
        const auto add = [this](std::int32_t distance, Row first, std::int64_t group) {
            nearest_.add(distance, first, group);
        };
        const auto bound = [this] { return nearest_.bound(); };
        const auto goal = [this](double spent) {
            return (nearest_.full() ? nearest_.bound() : nearest_.furthest()) - slack(spent);
        };
        const bool done = run(query, price, effort, add, bound, goal);
        in_nanoseconds(effort);
        if (!done) return false;
        nearest_.finish(distances, ids);
        return true;
    }

    bool within(const std::uint8_t* query, std::int32_t radius, double price, std::vector<Near>& found,
                Effort& effort) override {
        const std::size_t begin = found.size();
        price /= pace_;
        const auto add = [&](std::int32_t distance, Row first, std::int64_t group) {
            if (group < 0) {
                found.push_back({static_cast<std::int64_t>(first), distance});
                return;
            }
            for (const Row row : tables_.groups().rows(group)) {
                found.push_back({static_cast<std::int64_t>(row), distance});
            }
        };
        const auto bound = [radius] { return radius; };
        const bool done = run(query, price, effort, add, bound, [radius](double) { return radius; });
        in_nanoseconds(effort);
        if (!done) {
            found.resize(begin);
            return false;
        }
        std::sort(found.begin() + static_cast<std::ptrdiff_t>(begin), found.end(),
                  [](const Near& a, const Near& b) {
                      return a.distance != b.distance ? a.distance < b.distance : a.id < b.id;
                  });
        return true;
    }

  private:
    // A table, and its next keys: those that differ from the query's in `next` bits.
    struct Side {
        std::uint32_t key = 0;
        int bits = 0;
        int next = 0;
        bool known = false;      // what follows is about the next keys, else about those before
        double density = 0;      // rows a key
        std::int64_t count = 0;  // stretches that hold rows
        std::int64_t postings = 0;
        std::vector<Stretch> stretches{};
    };

    void in_nanoseconds(Effort& effort) const {
        effort.cost *= pace_;
        effort.expected *= pace_;
    }

    // Of finishing the next keys.
    static double step_cost(const Side& side) {
        if (!side.known) return forecast(binomial(side.bits, side.next), side.density);
        return cost_of(0, static_cast<double>(side.count), static_cast<double>(side.postings));
    }

    // Of a look at the postings of a whole table, which ends any search.
    double exhaustion() const { return cost_of(0, 1, static_cast<double>(tables_.distinct())); }

    // add(distance, first row, group) takes the codes within bound(); the search is over when everything
    // within bound() has been found. goal(part of the price spent) foretells where that will be.
    template <class Add, class Bound, class Goal>
    bool run(const std::uint8_t* query, double price, Effort& effort, const Add& add, const Bound& bound,
             const Goal& goal) {
        std::fill(asked_.begin(), asked_.end(), 0);
        std::memcpy(asked_.data(), query, static_cast<std::size_t>(codes_.bytes));
        fold_ = fold(query, codes_.bytes);
        effort = {.cost = kQuery};
        for (std::size_t i = 0; i < sides_.size(); ++i) {
            Side& side = sides_[i];
            side.key = tables_.layout().key(static_cast<int>(i), query);
            side.bits = tables_.layout().bits(static_cast<int>(i));
            side.next = 0;
            side.known = false;
            reached_[i] = -1;
            __builtin_prefetch(tables_.table(static_cast<int>(i)).offsets.data() + side.key);
        }
        for (std::size_t i = 0; i < sides_.size(); ++i) look_up(i, effort);
        while (effort.radius < bound()) {
            std::size_t best = 0;
            for (std::size_t i = 1; i < sides_.size(); ++i) {
                if (step_cost(sides_[i]) < step_cost(sides_[best])) best = i;
            }
            Side& side = sides_[best];
            const double step = step_cost(side);
            if (effort.cost + step > kExplored * price) {  // what was spent is spent: the rest decides
                const double left = std::max(step, rest(effort.radius, goal(effort.cost / price)));
                effort.expected = effort.cost + std::min(exhaustion(), left);
                if (effort.expected - effort.cost > price) return false;
            }
            if (step > exhaustion()) {
                side.stretches.resize(std::max<std::size_t>(side.stretches.size(), 1));
                side.stretches[0] = {0, tables_.distinct()};
                side.count = 1;
                side.postings = tables_.distinct();
                look_at(best, effort, add, bound);
                effort.radius = static_cast<std::int32_t>(codes_.bytes * 8);
                break;
            }
            if (!side.known) {
                look_up(best, effort);
                continue;
            }
            look_at(best, effort, add, bound);
            reached_[best] = side.next;
            ++effort.radius;
            if (side.next == side.bits) {  // every key of this table: nothing is left
                effort.radius = static_cast<std::int32_t>(codes_.bytes * 8);
                break;
            }
            ++side.next;
            side.known = false;
            if (side.next == 1) look_up(best, effort);
        }
        effort.expected = effort.cost;
        return true;
    }

    // What completing everything within `goal` will cost, if keys hold as many rows as the last ones did.
    double rest(std::int32_t radius, std::int32_t goal) {
        double sum = 0;
        ahead_.clear();
        for (const Side& side : sides_) ahead_.push_back({side.next, step_cost(side)});
        for (; radius < goal; ++radius) {
            std::size_t best = 0;
            for (std::size_t i = 1; i < ahead_.size(); ++i) {
                if (ahead_[i].cost < ahead_[best].cost) best = i;
            }
            sum += ahead_[best].cost;
            if (++ahead_[best].next > sides_[best].bits) break;
            ahead_[best].cost =
                forecast(binomial(sides_[best].bits, ahead_[best].next), sides_[best].density);
        }
        return sum;
    }

    // Finds the stretches of a table's next keys.
    void look_up(std::size_t i, Effort& effort) {
        Side& side = sides_[i];
        const Row* offsets = tables_.table(static_cast<int>(i)).offsets.data();
        const auto keys = static_cast<std::int64_t>(binomial(side.bits, side.next));
        if (side.stretches.size() < static_cast<std::size_t>(keys) + 1) {
            side.stretches.resize(static_cast<std::size_t>(keys) + 1);
        }
        Stretch* out = side.stretches.data();
        side.count = 0;
        side.postings = 0;
        std::uint64_t flips = (std::uint64_t{1} << side.next) - 1;
        for (std::int64_t n = 0; n < keys; ++n) {
            const std::uint64_t key = side.key ^ flips;
            const auto begin = static_cast<std::int64_t>(offsets[key]);
            const auto count = static_cast<std::int64_t>(offsets[key + 1]) - begin;
            out[side.count] = {begin, count};
            side.count += count > 0;
            side.postings += count;
            if (flips == 0) break;
            const std::uint64_t low = flips & (~flips + 1);  // the next number with as many ones
            const std::uint64_t carried = flips + low;
            flips = carried | (flips ^ carried) >> 2 >> __builtin_ctzll(low);
        }
        side.density = static_cast<double>(side.postings) / static_cast<double>(keys);
        side.known = true;
        effort.keys += keys;
        effort.cost += static_cast<double>(keys) * kLookUp;
    }

    // Looks at the rows of a table's stretches.
    template <class Add, class Bound>
    void look_at(std::size_t i, Effort& effort, const Add& add, const Bound& bound) {
        const Side& side = sides_[i];
        const Table<Row>& table = tables_.table(static_cast<int>(i));
        const bool whole = codes_.bytes <= 8;  // the fold is the code
        const PostingQuery query{fold_, tables_.layout().fold_masks(), reached_.data(),
                                 whole ? tables_.tables() : 0};
        PostingCursor cursor;
        while (cursor.stretch < side.count) {
            std::int64_t n = kernels_.postings(table.folds.data(), side.stretches.data(), side.count, query,
                                               bound(), &cursor, hits_);
            for (std::int64_t h = 0; h < n; ++h) __builtin_prefetch(&table.firsts[hits_[h].place]);
            for (std::int64_t h = 0; h < n; ++h) {
                fresh_[h] = table.firsts[hits_[h].place];
                tables_.groups().prefetch(fresh_[h]);
                if (!whole) __builtin_prefetch(codes_.row(static_cast<std::int64_t>(fresh_[h])));
            }
            if (!whole) n = whole_rows(n, bound());
            take(n, add);
        }
        effort.postings += side.postings;
        effort.cost += step_cost(side);
    }

    // Those of the hits whose rows are within the bound and which no table reached.
    std::int64_t whole_rows(std::int64_t n, std::int32_t bound) {
        const auto* query = reinterpret_cast<const std::uint8_t*>(asked_.data());
        std::int64_t left = 0;
        for (std::int64_t h = 0; h < n; ++h) {
            const std::uint8_t* row = codes_.row(static_cast<std::int64_t>(fresh_[h]));
            std::int32_t distance = 0;
            kernels_.distances(row, 1, codes_.bytes, query, &distance);
            if (distance > bound) continue;
            differ_.back() = 0;
            std::memcpy(differ_.data(), row, static_cast<std::size_t>(codes_.bytes));
            for (std::size_t word = 0; word < differ_.size(); ++word) differ_[word] ^= asked_[word];
            if (tables_.layout().within_any(differ_.data(), reached_.data())) continue;
            hits_[left].distance = distance;
            fresh_[left++] = fresh_[h];
        }
        return left;
    }

    template <class Add>
    void take(std::int64_t n, const Add& add) {
        std::int64_t groups[kPostingHits];
        for (std::int64_t h = 0; h < n; ++h) {
            groups[h] = tables_.groups().group(fresh_[h]);
            if (groups[h] >= 0) tables_.groups().prefetch_size(groups[h]);
        }
        for (std::int64_t h = 0; h < n; ++h) add(hits_[h].distance, fresh_[h], groups[h]);
    }

    struct Ahead {
        int next;
        double cost;
    };

    const Tables<Row>& tables_;
    Codes codes_;
    const Kernels& kernels_;
    double pace_;
    Nearest<Row> nearest_;
    std::vector<Side> sides_;
    std::vector<std::int32_t> reached_;  // keys within so many bits have been looked up
    std::vector<Ahead> ahead_;
    std::vector<std::uint64_t> asked_;
    std::vector<std::uint64_t> differ_;
    std::uint64_t fold_ = 0;
    PostingHit hits_[kPostingHits + 1];
    Row fresh_[kPostingHits + 1];
};

}  // namespace

template <class Row>
std::unique_ptr<MultiIndex::Searcher> make_searcher(const Tables<Row>& tables, Codes codes,
                                                    const Kernels& kernels, double pace) {
    return std::make_unique<TableSearcher<Row>>(tables, codes, kernels, pace);
}

template std::unique_ptr<MultiIndex::Searcher> make_searcher(const Tables<std::uint32_t>&, Codes,
                                                             const Kernels&, double);
template std::unique_ptr<MultiIndex::Searcher> make_searcher(const Tables<std::uint64_t>&, Codes,
                                                             const Kernels&, double);

}  // namespace dmth_fast::cpu
