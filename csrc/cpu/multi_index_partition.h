// Items to partitions, in parallel and in order: the first pass of every bucket sort here.
//
// make(i, item) fills the item of i in [0, n) and returns its partition in [0, parts). Items of a partition
// keep the order of their numbers, whatever the number of threads; partition p ends up at begins[p] to
// begins[p + 1]. `make` is called twice for each i, once to count and once to place. Why: a sort that writes
// to millions of places at once misses the caches with each write; a thousand places do not, and each
// partition then fits the L2 cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pages.h"
#include "threads.h"

namespace dmth_fast::cpu {

// Partitions for n items, a power of two, as an exponent.
inline int partition_bits(std::int64_t n) {
    int bits = 0;
    while (bits < 10 && n >> bits > 8192) ++bits;
    return bits;
}

template <class Item>
struct Partitions {
    PagedArray<Item> items;
    std::vector<std::int64_t> begins;
};

// False if it was interrupted.
template <class Item, class Make>
bool partition(std::int64_t n, std::int64_t parts, int threads, const std::function<bool()>& interrupted,
               const Make& make, Partitions<Item>& out) {
    const std::int64_t chunks = std::clamp<std::int64_t>(n >> 14, 1, 8 * threads);
    std::vector<std::int64_t> places(static_cast<std::size_t>(chunks * parts), 0);
    const auto pass = [&](const auto& visit) {
        const auto task = [&](std::int64_t chunk, int) {
            // A copy of its own: neighbours of one cache line would hinder each other.
            const auto first = places.begin() + static_cast<std::ptrdiff_t>(chunk * parts);
            std::vector<std::int64_t> mine(first, first + static_cast<std::ptrdiff_t>(parts));
            const std::int64_t end = (chunk + 1) * n / chunks;
            for (std::int64_t i = chunk * n / chunks; i < end; ++i) {
                Item item;
                const auto part = static_cast<std::size_t>(make(i, item));
                visit(item, mine[part]++);
            }
            std::copy(mine.begin(), mine.end(), first);
        };
        return parallel_for(chunks, threads, task, interrupted);
    };
    if (!pass([](const Item&, std::int64_t) {})) return false;
    out.begins.assign(static_cast<std::size_t>(parts) + 1, n);
    std::int64_t total = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
        out.begins[static_cast<std::size_t>(part)] = total;
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            std::int64_t& place = places[static_cast<std::size_t>(chunk * parts + part)];
            const std::int64_t count = place;
            place = total;
            total += count;
        }
    }
    out.items = PagedArray<Item>(n);
    Item* items = out.items.data();
    return pass([items](const Item& item, std::int64_t place) { items[place] = item; });
}

}  // namespace dmth_fast::cpu
