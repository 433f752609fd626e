// Codes, masks of rows and results of searches as arrays.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "../codes.h"
#include "arrays.h"

namespace dmth_fast {

// Hands memory that the engine allocated to an array, without a copy.
template <class T>
Array<T> adopt(std::unique_ptr<T[]> data, std::int64_t size) {
    if (!data) return Array<T>(0);
    T* address = data.get();
    py::capsule owner(address, [](void* p) { delete[] static_cast<T*>(p); });
    data.release();
    return Array<T>(static_cast<py::ssize_t>(size), address, owner);
}

inline Codes view(const Array<std::uint8_t>& codes, const char* name) {
    if (codes.ndim() != 2) throw std::invalid_argument(std::string(name) + " must have two dimensions");
    return {codes.data(), codes.shape(0), codes.shape(1)};
}

// The rows that a search looks at: all of them, or those of a mask in whole blocks of words.
using Mask = std::optional<Array<std::uint64_t>>;

inline Kept kept_of(const Mask& keep, std::int64_t rows) {
    if (!keep) return {nullptr, rows, rows};
    const std::int64_t words = (rows + 511) / 512 * 8;
    if (keep->ndim() != 1 || keep->shape(0) != words) {
        throw std::invalid_argument("keep must have " + std::to_string(words) + " words for " +
                                    std::to_string(rows) + " rows");
    }
    const std::uint64_t* bits = keep->data();
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < words; ++i) {
        const std::int64_t left = std::clamp<std::int64_t>(rows - 64 * i, 0, 64);
        if (left < 64 && bits[i] >> left != 0)
            throw std::invalid_argument("keep must be zero behind row " + std::to_string(rows - 1));
        count += __builtin_popcountll(bits[i]);
    }
    return {bits, rows, count};
}

// How many neighbours a query has, of so many rows.
inline std::int64_t columns_of(std::int64_t k, std::int64_t rows) {
    if (k < 1) throw std::invalid_argument("k must be at least 1, got " + std::to_string(k));
    return std::min(k, rows);
}

// Distances and ids of neighbours, (queries, columns) each: search(distances, ids, call) fills them.
template <class Search>
py::tuple neighbours(std::int64_t queries, std::int64_t columns, const std::string& isa, int threads,
                     const Search& search) {
    Array<std::int32_t> distances = empty<std::int32_t>(queries, columns);
    Array<std::int64_t> ids = empty<std::int64_t>(queries, columns);
    std::int32_t* distance_data = distances.mutable_data();
    std::int64_t* id_data = ids.mutable_data();
    if (columns > 0 && queries > 0) {
        run(isa, threads, [&](const cpu::Call& call) { search(distance_data, id_data, call); });
    }
    return py::make_tuple(distances, ids);
}

inline std::int32_t radius_of(std::int64_t radius, Codes codes) {
    if (radius < 0) throw std::invalid_argument("radius must be at least 0, got " + std::to_string(radius));
    return static_cast<std::int32_t>(std::min(radius, codes.bytes * 8));
}

inline py::tuple csr(RangeResult result) {
    const std::int64_t total = result.offsets.back();
    Array<std::int64_t> offsets(static_cast<py::ssize_t>(result.offsets.size()), result.offsets.data());
    return py::make_tuple(offsets, adopt(std::move(result.distances), total),
                          adopt(std::move(result.ids), total));
}

}  // namespace dmth_fast
