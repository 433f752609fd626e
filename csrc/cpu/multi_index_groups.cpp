// Rows go to partitions by a hash of their code; in each partition a small hash table finds the equal ones.
#include "multi_index_groups.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "multi_index_partition.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

// A bijection of words (MurmurHash3's finaliser): codes of at most 8 bytes are equal iff their hashes are.
std::uint64_t mixed(std::uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

std::uint64_t hash_of(const std::uint8_t* code, std::int64_t bytes) {
    std::uint64_t hash = 0;
    for (std::int64_t at = 0; at < bytes; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, code + at, static_cast<std::size_t>(std::min<std::int64_t>(8, bytes - at)));
        hash = mixed(hash * 3 + word);
    }
    return hash;
}

template <class Row>
struct Hashed {
    std::uint64_t hash;
    Row row;
};

template <class Row>
struct Found {
    std::vector<Row> sizes;  // of each group, in the order of their first rows
    std::vector<Row> rows;   // of all groups, one after the other
};

enum Kind : std::uint8_t { kFurther, kOnly, kRepeated };

// The groups of one partition; `kinds` is set for each of its rows.
template <class Row>
Found<Row> groups_of(const Hashed<Row>* items, std::int64_t n, Codes codes, std::uint8_t* kinds) {
    std::vector<Row> slots(std::bit_ceil(static_cast<std::size_t>(2 * n)), 0);
    std::vector<Row> group(static_cast<std::size_t>(n));  // number of the first equal item
    std::vector<Row> counts(static_cast<std::size_t>(n), 0);
    for (std::int64_t i = 0; i < n; ++i) {
        const Hashed<Row>& item = items[i];
        for (std::size_t at = item.hash;; ++at) {
            Row& slot = slots[at & (slots.size() - 1)];
            if (slot == 0) slot = static_cast<Row>(i + 1);
            const Hashed<Row>& other = items[slot - 1];
            if (other.hash != item.hash) continue;
            if (codes.bytes > 8 && slot != static_cast<Row>(i + 1) &&
                std::memcmp(codes.row(static_cast<std::int64_t>(other.row)),
                            codes.row(static_cast<std::int64_t>(item.row)),
                            static_cast<std::size_t>(codes.bytes)) != 0) {
                continue;
            }
            group[static_cast<std::size_t>(i)] = slot - 1;
            ++counts[slot - 1];
            break;
        }
    }
    Found<Row> found;
    std::vector<std::size_t> places(static_cast<std::size_t>(n));
    std::size_t total = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        kinds[items[i].row] = counts[i] == 0 ? kFurther : counts[i] == 1 ? kOnly : kRepeated;
        places[i] = total;
        if (counts[i] < 2) continue;
        found.sizes.push_back(counts[i]);
        total += counts[i];
    }
    found.rows.resize(total);
    for (std::size_t i = 0; i < counts.size() && total > 0; ++i) {
        const Row first = group[i];
        if (counts[first] > 1) found.rows[places[first]++] = items[i].row;
    }
    return found;
}

}  // namespace

template <class Row>
bool Groups<Row>::build(Codes codes, const Call& call, PagedArray<Row>& firsts) {
    const int bits = partition_bits(codes.rows);
    const std::int64_t parts = std::int64_t{1} << bits;
    std::vector<Found<Row>> found(static_cast<std::size_t>(parts));
    PagedArray<std::uint8_t> kinds(codes.rows);
    {
        Partitions<Hashed<Row>> hashed;
        const auto make = [&](std::int64_t i, Hashed<Row>& item) {
            item = {hash_of(codes.row(i), codes.bytes), static_cast<Row>(i)};
            return bits == 0 ? 0 : item.hash >> (64 - bits);
        };
        if (!partition(codes.rows, parts, call.threads, call.interrupted, make, hashed)) return false;
        const auto collapse = [&](std::int64_t part, int) {
            const std::int64_t begin = hashed.begins[static_cast<std::size_t>(part)];
            const std::int64_t end = hashed.begins[static_cast<std::size_t>(part) + 1];
            found[static_cast<std::size_t>(part)] =
                groups_of(hashed.items.data() + begin, end - begin, codes, kinds.data());
        };
        if (!parallel_for(parts, call.threads, collapse, call.interrupted)) return false;
    }

    std::int64_t distinct = 0;
    std::int64_t groups = 0;
    for (std::int64_t i = 0; i < codes.rows; ++i) {
        distinct += kinds[i] != kFurther;
        groups += kinds[i] == kRepeated;
    }
    firsts = PagedArray<Row>(distinct);
    std::int64_t next = 0;
    if (groups > 0) words_.assign(static_cast<std::size_t>(codes.rows / 64 + 1), {0, 0});
    std::uint64_t rank = 0;
    for (std::int64_t i = 0; i < codes.rows; ++i) {
        if (groups > 0 && i % 64 == 0) words_[static_cast<std::size_t>(i / 64)].rank = rank;
        if (kinds[i] == kFurther) continue;
        firsts[next++] = static_cast<Row>(i);
        if (kinds[i] == kOnly) continue;
        words_[static_cast<std::size_t>(i / 64)].repeated |= std::uint64_t{1} << (i % 64);
        ++rank;
    }
    if (groups == 0) return true;

    starts_ = PagedArray<Row>(groups + 1);
    const auto each_group = [&](std::int64_t part, const auto& visit) {
        const Found<Row>& some = found[static_cast<std::size_t>(part)];
        const Row* rows = some.rows.data();
        for (const Row size : some.sizes) {
            visit(group(*rows), rows, static_cast<std::int64_t>(size));
            rows += size;
        }
    };
    starts_[0] = 0;
    const auto count = [&](std::int64_t part, int) {
        each_group(part, [&](std::int64_t number, const Row*, std::int64_t size) {
            starts_[number + 1] = static_cast<Row>(size);
        });
    };
    if (!parallel_for(parts, call.threads, count, call.interrupted)) return false;
    for (std::int64_t i = 0; i < groups; ++i) {
        starts_[i + 1] = static_cast<Row>(starts_[i + 1] + starts_[i]);
    }
    rows_ = PagedArray<Row>(static_cast<std::int64_t>(starts_[groups]));
    const auto place = [&](std::int64_t part, int) {
        each_group(part, [&](std::int64_t number, const Row* rows, std::int64_t size) {
            std::copy_n(rows, size, rows_.data() + starts_[number]);
        });
    };
    return parallel_for(parts, call.threads, place, call.interrupted);
}

template class Groups<std::uint32_t>;
template class Groups<std::uint64_t>;

}  // namespace dmth_fast::cpu
