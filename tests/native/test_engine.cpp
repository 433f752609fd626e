// The engine without Python, so that sanitizers see every access: each verb on each instruction set against a
// naive loop, on arrays of exactly the right size, and searches of an index while another thread adds to it.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../csrc/cpu/index.h"
#include "../../csrc/retrieval.h"

namespace {

using namespace dmth_fast;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                        \
        }                                                                        \
    } while (false)

using Bytes = std::vector<std::uint8_t>;

Bytes random_codes(std::mt19937_64& random, std::int64_t rows, std::int64_t bits, bool clustered) {
    const std::int64_t bytes = (bits + 7) / 8;
    Bytes codes(static_cast<std::size_t>(rows * bytes));
    for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < bits; ++j) {
            const bool one = clustered ? ((i % 3 + j) % 2 == 0) != (random() % 16 == 0) : random() % 2 == 0;
            if (one)
                codes[static_cast<std::size_t>(i * bytes + j / 8)] |= static_cast<std::uint8_t>(1 << j % 8);
        }
    }
    return codes;
}

std::int32_t naive_distance(const std::uint8_t* a, const std::uint8_t* b, std::int64_t bytes) {
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < bytes; ++i) sum += __builtin_popcount(static_cast<unsigned>(a[i] ^ b[i]));
    return sum;
}

struct Problem {
    Bytes code_bytes, query_bytes;
    Codes codes, queries;
    std::vector<std::int32_t> distances;           // (queries, rows)
    std::vector<std::vector<std::int64_t>> order;  // of each query's rows

    Problem(std::mt19937_64& random, std::int64_t rows, std::int64_t asked, std::int64_t bits, bool clustered)
        : code_bytes(random_codes(random, rows, bits, clustered)),
          query_bytes(random_codes(random, asked, bits, clustered)),
          codes{code_bytes.data(), rows, (bits + 7) / 8},
          queries{query_bytes.data(), asked, (bits + 7) / 8} {
        for (std::int64_t q = 0; q < asked; ++q) {
            for (std::int64_t i = 0; i < rows; ++i) {
                distances.push_back(naive_distance(codes.row(i), queries.row(q), codes.bytes));
            }
            std::vector<std::int64_t> ids(static_cast<std::size_t>(rows));
            std::iota(ids.begin(), ids.end(), 0);
            const std::int32_t* d = distances.data() + q * rows;
            std::stable_sort(ids.begin(), ids.end(),
                             [&](std::int64_t a, std::int64_t b) { return d[a] < d[b]; });
            order.push_back(std::move(ids));
        }
    }
    std::int32_t distance(std::int64_t q, std::int64_t i) const {
        return distances[static_cast<std::size_t>(q * codes.rows + i)];
    }
};

constexpr cpu::Method kMethods[] = {cpu::Method::kScan, cpu::Method::kTables, cpu::Method::kAuto};

void check_search(const Problem& p, std::int64_t k, const std::vector<std::int32_t>& d,
                  const std::vector<std::int64_t>& ids) {
    for (std::int64_t q = 0; q < p.queries.rows; ++q) {
        for (std::int64_t i = 0; i < k; ++i) {
            const std::int64_t expected = p.order[static_cast<std::size_t>(q)][static_cast<std::size_t>(i)];
            CHECK(ids[static_cast<std::size_t>(q * k + i)] == expected);
            CHECK(d[static_cast<std::size_t>(q * k + i)] == p.distance(q, expected));
        }
    }
}

void check_range(const Problem& p, std::int32_t radius, const RangeResult& result) {
    std::size_t at = 0;
    for (std::int64_t q = 0; q < p.queries.rows; ++q) {
        CHECK(result.offsets[static_cast<std::size_t>(q)] == static_cast<std::int64_t>(at));
        for (const std::int64_t id : p.order[static_cast<std::size_t>(q)]) {
            if (p.distance(q, id) > radius) break;
            CHECK(result.ids[at] == id);
            CHECK(result.distances[at] == p.distance(q, id));
            ++at;
        }
    }
    CHECK(result.offsets.back() == static_cast<std::int64_t>(at));
}

// Rows that take part: `every` so many-th of them, in whole blocks of words.
struct Mask {
    std::vector<std::uint64_t> bits;
    Kept kept;

    Mask(std::int64_t rows, std::int64_t every)
        : bits(static_cast<std::size_t>((rows + 511) / 512 * 8)), kept{bits.data(), rows, 0} {
        for (std::int64_t i = every / 2; i < rows; i += every, ++kept.count)
            bits[static_cast<std::size_t>(i / 64)] |= std::uint64_t{1} << (i % 64);
    }
    bool has(std::int64_t i) const { return (bits[static_cast<std::size_t>(i / 64)] >> (i % 64) & 1) != 0; }
};

void check_kept(const Problem& p, const cpu::Index& index, const Mask& mask, const cpu::Call& call) {
    const std::int64_t k = (mask.kept.count + 1) / 2;
    if (k == 0) return;
    const auto asked = static_cast<std::size_t>(p.queries.rows);
    std::vector<std::int32_t> d(asked * static_cast<std::size_t>(k));
    std::vector<std::int64_t> ids(d.size());
    const auto check = [&] {
        for (std::size_t q = 0; q < asked; ++q) {
            std::size_t at = q * static_cast<std::size_t>(k);
            for (const std::int64_t id : p.order[q]) {
                if (at == (q + 1) * static_cast<std::size_t>(k)) break;
                if (!mask.has(id)) continue;
                CHECK(ids[at] == id);
                CHECK(d[at] == p.distance(static_cast<std::int64_t>(q), id));
                ++at;
            }
        }
    };
    cpu::search(p.codes, p.queries, k, d.data(), ids.data(), mask.kept, call);
    check();
    index.search_kept(p.queries, k, mask.kept, d.data(), ids.data(), call);
    check();
    const auto radius = static_cast<std::int32_t>(p.codes.bytes * 4);
    const RangeResult near = index.range_search_kept(p.queries, radius, mask.kept, call);
    const RangeResult once = cpu::range_search(p.codes, p.queries, radius, mask.kept, call);
    CHECK(near.offsets == once.offsets);
    std::size_t found = 0;
    for (std::size_t q = 0; q < asked; ++q) {
        for (const std::int64_t id : p.order[q]) {
            if (!mask.has(id) || p.distance(static_cast<std::int64_t>(q), id) > radius) continue;
            CHECK(near.ids[found] == id);
            CHECK(once.ids[found++] == id);
        }
    }
    CHECK(near.offsets.back() == static_cast<std::int64_t>(found));
}

void check_verbs(const Problem& p, const cpu::Call& call) {
    const std::int64_t rows = p.codes.rows;
    const auto asked = static_cast<std::size_t>(p.queries.rows);
    std::vector<std::int32_t> matrix(asked * static_cast<std::size_t>(rows));
    cpu::hamming_distances(p.codes, p.queries, matrix.data(), call);
    CHECK(matrix == p.distances);

    cpu::Index index(p.codes.bytes);
    const std::int64_t half = rows / 2;
    index.add({p.codes.data, half, p.codes.bytes}, call);
    index.add({p.codes.row(half), rows - half, p.codes.bytes}, call);
    CHECK(index.size() == rows);
    for (const std::int64_t k : {std::int64_t{1}, (rows + 1) / 2, rows}) {
        std::vector<std::int32_t> d(asked * static_cast<std::size_t>(k));
        std::vector<std::int64_t> ids(d.size());
        cpu::search(p.codes, p.queries, k, d.data(), ids.data(), {}, call);
        check_search(p, k, d, ids);
        for (const cpu::Method method : kMethods) {
            index.search(p.queries, rows, k, method, d.data(), ids.data(), call);
            check_search(p, k, d, ids);
        }
    }
    for (const std::int64_t every : {std::int64_t{1}, std::int64_t{3}, std::int64_t{700}})
        check_kept(p, index, Mask(rows, every), call);
    const auto bits = static_cast<std::int32_t>(p.codes.bytes * 8);
    for (const std::int32_t radius : {0, bits * 2 / 5, bits}) {
        check_range(p, radius, cpu::range_search(p.codes, p.queries, radius, {}, call));
        for (const cpu::Method method : kMethods) {
            check_range(p, radius, index.range_search(p.queries, radius, method, call));
        }
        std::vector<std::int64_t> counts(asked);
        index.range_count(p.queries, radius, counts.data(), call);
        for (std::int64_t q = 0; q < p.queries.rows; ++q) {
            const auto within =
                std::count_if(p.distances.begin() + q * rows, p.distances.begin() + (q + 1) * rows,
                              [&](std::int32_t d) { return d <= radius; });
            CHECK(counts[static_cast<std::size_t>(q)] == within);
        }
    }

    std::vector<std::int64_t> code_labels, query_labels;
    for (std::int64_t i = 0; i < rows; ++i) code_labels.push_back(i * 7 % 3);
    for (std::int64_t q = 0; q < p.queries.rows; ++q) query_labels.push_back(q % 4);
    const Labels code_view{code_labels.data(), nullptr, 0};
    const Labels query_view{query_labels.data(), nullptr, 0};
    const auto bins = static_cast<std::size_t>(bits) + 1;
    std::vector<std::int64_t> all(asked * bins), relevant(asked * bins);
    cpu::histograms(p.codes, p.queries, code_view, query_view, bits, all.data(), relevant.data(), call);
    const RankResult ranks = cpu::relevant_ranks(p.codes, p.queries, code_view, query_view, call);
    std::size_t at = 0;
    for (std::size_t q = 0; q < asked; ++q) {
        std::vector<std::int64_t> every(bins), right(bins);
        std::int64_t rank = 0;
        for (const std::int64_t id : p.order[q]) {
            const auto d = static_cast<std::size_t>(p.distance(static_cast<std::int64_t>(q), id));
            const bool is_relevant = code_labels[static_cast<std::size_t>(id)] == query_labels[q];
            ++every[d];
            right[d] += is_relevant;
            ++rank;
            if (is_relevant) CHECK(ranks.ranks[at++] == rank);
        }
        CHECK(std::equal(every.begin(), every.end(), all.begin() + static_cast<std::ptrdiff_t>(q * bins)));
        CHECK(
            std::equal(right.begin(), right.end(), relevant.begin() + static_cast<std::ptrdiff_t>(q * bins)));
        CHECK(ranks.offsets[q + 1] == static_cast<std::int64_t>(at));
    }

    // The same relevance as masks of two words.
    const auto masks_of = [](const std::vector<std::int64_t>& labels) {
        std::vector<std::uint64_t> masks(2 * labels.size());
        for (std::size_t i = 0; i < labels.size(); ++i) {
            masks[2 * i + static_cast<std::size_t>(labels[i] % 2)] = std::uint64_t{1} << labels[i];
        }
        return masks;
    };
    const std::vector<std::uint64_t> code_masks = masks_of(code_labels), query_masks = masks_of(query_labels);
    const Labels code_sets{nullptr, code_masks.data(), 2}, query_sets{nullptr, query_masks.data(), 2};
    std::vector<std::int64_t> all_again(asked * bins), relevant_again(asked * bins);
    cpu::histograms(p.codes, p.queries, code_sets, query_sets, bits, all_again.data(), relevant_again.data(),
                    call);
    CHECK(all_again == all && relevant_again == relevant);
    const RankResult again = cpu::relevant_ranks(p.codes, p.queries, code_sets, query_sets, call);
    CHECK(again.offsets == ranks.offsets);
    CHECK(std::equal(again.ranks.get(), again.ranks.get() + at, ranks.ranks.get()));

    // Grades of 0, 1 and more shared labels; the ranks of single rows; sums of ranks and of histograms.
    std::vector<std::int64_t> graded(asked * bins * 3);
    cpu::graded_histograms(p.codes, p.queries, code_sets, query_sets, bits, 3, graded.data(), call);
    for (std::size_t i = 0; i < all.size(); ++i) {
        CHECK(graded[3 * i] == all[i] - relevant[i] && graded[3 * i + 1] == relevant[i] &&
              graded[3 * i + 2] == 0);
    }
    std::vector<std::int64_t> own(asked), own_ranks(asked);
    for (std::size_t q = 0; q < asked; ++q) own[q] = static_cast<std::int64_t>(q * 5) % (rows + 1) - 1;
    cpu::self_ranks(p.codes, p.queries, own.data(), own_ranks.data(), call);
    for (std::size_t q = 0; q < asked; ++q) {
        CHECK(own[q] < 0 ? own_ranks[q] == 0
                         : p.order[q][static_cast<std::size_t>(own_ranks[q]) - 1] == own[q]);
    }
    const std::vector<std::int64_t> cutoffs(asked, rows);
    std::vector<std::int64_t> hits(asked);
    std::vector<double> precisions(asked), expected_hits(asked), expected(asked);
    cpu::rank_sums(ranks.offsets.data(), p.queries.rows, ranks.ranks.get(), cutoffs.data(), hits.data(),
                   precisions.data(), call);
    const cpu::TiedGroups tied{all.data(), relevant.data(), p.queries.rows, bits + 1, cpu::Ties::kExpected};
    cpu::tied_sums(tied, cutoffs.data(), expected_hits.data(), expected.data(), call);
    for (std::size_t q = 0; q < asked; ++q) {
        CHECK(static_cast<double>(hits[q]) == expected_hits[q]);
        CHECK(precisions[q] <= expected_hits[q] && expected[q] <= expected_hits[q] * (1 + 1e-12));
    }

    // A discount of 1 a rank counts hits; a first rank and the mean of its reciprocal; recall that ends at 1.
    std::vector<double> discounts(static_cast<std::size_t>(rows) + 1), sums(asked), reciprocals(asked);
    for (std::size_t i = 0; i < discounts.size(); ++i) discounts[i] = static_cast<double>(i);
    cpu::tied_discounts(tied, cutoffs.data(), discounts.data(), sums.data(), call);
    for (std::size_t q = 0; q < asked; ++q)
        CHECK(std::abs(sums[q] - expected_hits[q]) <= 1e-9 * (1 + sums[q]));
    cpu::tied_firsts(tied, sums.data(), reciprocals.data(), call);
    for (std::size_t q = 0; q < asked; ++q) {
        CHECK(hits[q] == 0 ? reciprocals[q] == 0 : sums[q] >= 1 && sums[q] * reciprocals[q] >= 1 - 1e-9);
    }
    const std::vector<double> weights(bins, 1.0), levels{0.0, 1.0};
    const auto counted = std::make_unique<bool[]>(asked);
    std::fill_n(counted.get(), asked, true);
    std::vector<double> mean(asked), by_cost(asked), curves(2 * bins + levels.size());
    std::vector<std::int64_t> counts(3 * bins);
    cpu::radius_curves({all.data(), relevant.data(), p.queries.rows, bits + 1, weights.data(), levels.data(),
                        static_cast<std::int64_t>(levels.size()), counted.get(), false, mean.data(),
                        by_cost.data(), curves.data(), counts.data()},
                       call);
    CHECK(mean == by_cost);
    double found = 0;
    for (std::size_t q = 0; q < asked; ++q) found += hits[q] != 0 ? 1 : 0;
    CHECK(std::abs(curves[2 * bins - 1] - found) <= 1e-9 * (1 + found));
}

template <class T>
void check_pack_of(const std::vector<int>& levels, const T (&of_level)[5], Scalar type, std::int64_t bits,
                   const cpu::Call& call) {
    const std::int64_t rows = static_cast<std::int64_t>(levels.size()) / bits;
    const std::int64_t bytes = (bits + 7) / 8;
    const auto values = std::make_unique<T[]>(levels.size());
    for (std::size_t i = 0; i < levels.size(); ++i) values[i] = of_level[levels[i]];
    Bytes out(static_cast<std::size_t>(rows * bytes));
    CHECK(cpu::pack(values.get(), type, rows, bits, 0.0, out.data(), call) == -1);
    for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < bytes * 8; ++j) {
            const bool expected = j < bits && levels[static_cast<std::size_t>(i * bits + j)] > 2;
            CHECK((out[static_cast<std::size_t>(i * bytes + j / 8)] >> (j % 8) & 1) == expected);
        }
    }
}

void check_pack(std::mt19937_64& random, std::int64_t bits, const cpu::Call& call) {
    std::vector<int> levels(static_cast<std::size_t>(19 * bits));
    for (int& level : levels) level = static_cast<int>(random() % 5);
    constexpr float kFloats[] = {-2, -1, 0, 1, 2};
    constexpr double kDoubles[] = {-2, -1, 0, 1e-300, 2};
    constexpr std::uint16_t kHalves[] = {0xc000, 0x8001, 0x8000, 0x0001, 0x4000};  // subnormals, minus zero
    constexpr bool kBools[] = {false, false, false, true, true};
    check_pack_of(levels, kFloats, Scalar::kFloat, bits, call);
    check_pack_of(levels, kDoubles, Scalar::kDouble, bits, call);
    check_pack_of(levels, kHalves, Scalar::kHalf, bits, call);
    check_pack_of(levels, kBools, Scalar::kBool, bits, call);
}

// The widest codes fill a segment of planes soonest: rows on both sides of its end are found, and copied.
void check_segments(std::mt19937_64& random, const cpu::Call& call) {
    constexpr std::int64_t kBytes = 512, kRows = 8000, kAsked = 40;
    std::vector<std::uint64_t> words(kRows * kBytes / 8);
    for (std::uint64_t& word : words) word = random();
    const auto* data = reinterpret_cast<const std::uint8_t*>(words.data());
    cpu::Index index(kBytes);
    const std::int64_t cuts[] = {0, 5000, 7001, kRows};
    for (int i = 0; i < 3; ++i) {
        CHECK(index.add({data + cuts[i] * kBytes, cuts[i + 1] - cuts[i], kBytes}, call) == cuts[i]);
    }
    const std::int64_t first = 15 * 512 - kAsked / 2;  // 15 blocks a segment
    std::vector<std::int32_t> d(kAsked);
    std::vector<std::int64_t> ids(kAsked);
    index.search({data + first * kBytes, kAsked, kBytes}, kRows, 1, cpu::Method::kScan, d.data(), ids.data(),
                 call);
    Bytes copies(kAsked * kBytes);
    CHECK(index.rows(ids.data(), kAsked, copies.data()));
    CHECK(std::equal(copies.begin(), copies.end(), data + first * kBytes));
    for (std::int64_t i = 0; i < kAsked; ++i) {
        CHECK(d[static_cast<std::size_t>(i)] == 0 && ids[static_cast<std::size_t>(i)] == first + i);
    }
    for (const std::int64_t absent : {std::int64_t{-1}, kRows}) {
        CHECK(!index.rows(&absent, 1, copies.data()));
    }
    CHECK(index.add({nullptr, 0, kBytes}, call) == kRows);
}

// Tables with row numbers of 64 bits, as from 2^32 rows on.
void check_wide_tables(const Problem& p, const cpu::Call& call) {
    const auto tables = cpu::MultiIndex::build_wide(p.codes, call);
    CHECK(tables->rows() == p.codes.rows);
    const auto searcher = tables->searcher(p.codes, *call.kernels, 1);
    const std::int64_t k = (p.codes.rows + 1) / 2;
    const auto asked = static_cast<std::size_t>(p.queries.rows * k);
    std::vector<std::int32_t> d(asked);
    std::vector<std::int64_t> ids(asked);
    for (std::int64_t q = 0; q < p.queries.rows; ++q) {
        cpu::Effort effort;
        CHECK(searcher->nearest(p.queries.row(q), k, cpu::MultiIndex::kNoPrice, d.data() + q * k,
                                ids.data() + q * k, effort));
        std::vector<cpu::Near> near;
        CHECK(searcher->within(p.queries.row(q), 3, cpu::MultiIndex::kNoPrice, near, effort));
        for (std::size_t i = 0; i < near.size(); ++i) {
            CHECK(near[i].id == p.order[static_cast<std::size_t>(q)][i] && near[i].distance <= 3);
        }
    }
    check_search(p, k, d, ids);
}

// Batch i holds codes with 64 - i ones: a search must see all of the last batch that it sees any of.
void check_adding(const cpu::Call& call) {
    constexpr std::int64_t kBatch = 130;
    cpu::Index index(8);
    const Bytes zero(8 * 12, 0);
    std::atomic<bool> done{false};
    std::vector<std::thread> readers;
    for (int t = 0; t < 8; ++t) {
        readers.emplace_back([&, t] {
            std::vector<std::int32_t> d(12 * kBatch);
            std::vector<std::int64_t> ids(12 * kBatch);
            while (!done) {
                const std::int64_t rows = index.size();
                if (rows == 0) continue;
                CHECK(rows % kBatch == 0);
                index.search({zero.data(), t % 2 == 0 ? 1 : 12, 8}, rows, kBatch, kMethods[t % 3], d.data(),
                             ids.data(), call);
                CHECK(d[0] == d[kBatch - 1]);
                CHECK(ids[0] == rows - kBatch);
                std::int64_t counts[12];
                index.range_count({zero.data(), t % 2 == 0 ? 1 : 12, 8}, 64, counts, call);
                CHECK(counts[0] >= rows && counts[0] % kBatch == 0);
                Bytes row(8);
                const std::int64_t last = rows - 1;
                CHECK(index.rows(&last, 1, row.data()));
                CHECK(naive_distance(row.data(), zero.data(), 8) == d[0]);
            }
        });
    }
    for (int i = 0; i < 30; ++i) {
        Bytes batch;
        for (std::int64_t row = 0; row < kBatch; ++row) {
            for (int j = 0; j < 8; ++j) {
                const int ones = std::clamp(64 - i - 8 * j, 0, 8);
                batch.push_back(static_cast<std::uint8_t>((1 << ones) - 1));
            }
        }
        index.add({batch.data(), kBatch, 8}, call);
    }
    done = true;
    for (std::thread& reader : readers) reader.join();
}

}  // namespace

int main() {
    std::mt19937_64 random(1);
    for (const std::string& isa : cpu::available_isas()) {
        for (const int threads : {1, 3}) {
            const cpu::Call call{cpu::kernels_of(isa), threads, nullptr};
            for (const std::int64_t bits :
                 {1, 8, 12, 24, 32, 48, 64, 96, 128, 200, 256, 512, 520, 1000, 4096}) {
                for (const std::int64_t rows : {1, 63, 515, 1100}) {
                    if (bits > 520 && rows > 515) continue;
                    for (const std::int64_t asked : {1, 17}) {
                        check_verbs(Problem(random, rows, asked, bits, (bits + rows) % 2 == 0), call);
                    }
                }
                check_pack(random, bits, call);
            }
            check_verbs(Problem(random, 700, 150, 64, true), call);   // more than one tile of queries
            check_verbs(Problem(random, 9000, 20, 64, false), call);  // bounds from a sample
            check_wide_tables(Problem(random, 700, 20, 64, true), call);
            check_wide_tables(Problem(random, 700, 20, 200, false), call);
            check_segments(random, call);
            check_adding(call);
        }
        std::printf("%s: passed\n", isa.c_str());
    }
    return 0;
}
