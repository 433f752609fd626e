#include "multi_index_keys.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

namespace dmth_fast::cpu {
namespace {

constexpr std::int64_t kSampleRows = 2048;
constexpr std::int64_t kSampleWords = kSampleRows / 64;
constexpr double kRowBits = 5;               // logarithm of the rows of a key
constexpr std::size_t kMostCompared = 1024;  // bits whose pairs are compared

// A bit of the code over the sampled rows.
struct Column {
    std::int64_t bit;
    std::int64_t ones;
    std::uint64_t rows[kSampleWords];
};

// The bits that vary within a sample of evenly spaced rows, the most balanced first.
std::vector<Column> varying_bits(Codes codes) {
    const std::int64_t sampled = std::min(codes.rows, kSampleRows);
    std::vector<Column> columns(static_cast<std::size_t>(codes.bytes * 8));
    for (std::int64_t j = 0; j < codes.bytes * 8; ++j) columns[static_cast<std::size_t>(j)] = {j, 0, {}};
    for (std::int64_t i = 0; i < sampled; ++i) {
        const std::uint8_t* row = codes.row(i * codes.rows / sampled);
        for (Column& column : columns) {
            const std::uint64_t value = row[column.bit / 8] >> (column.bit % 8) & 1;
            column.ones += static_cast<std::int64_t>(value);
            column.rows[i / 64] |= value << (i % 64);
        }
    }
    std::erase_if(columns, [&](const Column& column) { return column.ones == 0 || column.ones == sampled; });
    std::stable_sort(columns.begin(), columns.end(), [&](const Column& a, const Column& b) {
        return std::abs(2 * a.ones - sampled) < std::abs(2 * b.ones - sampled);
    });
    if (columns.size() > kMostCompared) columns.resize(kMostCompared);
    return columns;
}

// How far two bits are from being independent, in [0, 1].
double dependence(const Column& a, const Column& b, std::int64_t sampled) {
    std::int64_t both = 0;
    for (std::int64_t word = 0; word < kSampleWords; ++word) {
        both += ones(a.rows[word] & b.rows[word]);
    }
    const auto n = static_cast<double>(sampled);
    const double p = static_cast<double>(a.ones) / n;
    const double q = static_cast<double>(b.ones) / n;
    const double covariance = static_cast<double>(both) / n - p * q;
    return covariance * covariance / (p * (1 - p) * q * (1 - q));
}

}  // namespace

double KeyLayout::wanted_bits(std::int64_t distinct) {
    return std::clamp(std::log2(static_cast<double>(std::max<std::int64_t>(distinct, 1))) - kRowBits, 6.0,
                      static_cast<double>(kMostKeyBits));
}

KeyLayout::KeyLayout(Codes rows, std::int64_t distinct) {
    const std::vector<Column> columns = varying_bits(rows);
    const double wanted = wanted_bits(distinct);
    const auto most = std::min(kMostKeyBits, static_cast<int>(wanted) + 2);
    const auto varying = static_cast<int>(columns.size());
    int tables = std::max(1, static_cast<int>(std::lround(varying / wanted)));
    while ((varying + tables - 1) / tables > most) ++tables;
    tables = std::min(tables, kMostTables);
    const int used = std::min(varying, tables * static_cast<int>(std::lround(wanted)));
    const int kept = (varying + tables - 1) / tables > most ? used : varying;

    // Bit by bit to the table with room whose bits tell least about it; the emptier one among equals.
    const std::int64_t sampled = std::min(rows.rows, kSampleRows);
    std::vector<std::vector<const Column*>> given(static_cast<std::size_t>(tables));
    for (int j = 0; j < kept; ++j) {
        const Column& column = columns[static_cast<std::size_t>(j)];
        std::size_t best = given.size();
        double least = 0;
        for (std::size_t i = 0; i < given.size(); ++i) {
            const int room = kept / tables + (static_cast<int>(i) < kept % tables ? 1 : 0);
            if (static_cast<int>(given[i].size()) >= room) continue;
            double sum = 1e-3 * static_cast<double>(given[i].size());
            for (const Column* other : given[i]) sum += dependence(column, *other, sampled);
            if (best == given.size() || sum < least) {
                best = i;
                least = sum;
            }
        }
        given[best].push_back(&column);
    }

    parts_.resize(given.size());
    for (std::size_t i = 0; i < given.size(); ++i) {
        std::vector<std::int64_t> bits;
        for (const Column* column : given[i]) bits.push_back(column->bit);
        std::sort(bits.begin(), bits.end());
        Part& part = parts_[i];
        part.bits = static_cast<int>(bits.size());
        for (int place = 0; place < part.bits; ++place) {
            const std::int64_t bit = bits[static_cast<std::size_t>(place)];
            if (part.looks.empty() || part.looks.back().byte != bit / 8) part.looks.push_back({bit / 8, {}});
            for (std::uint32_t value = 0; value < 256; ++value) {
                part.looks.back().keys[value] |= (value >> (bit % 8) & 1) << place;
            }
            if (part.masks.empty() || part.masks.back().word != bit / 64) part.masks.push_back({bit / 64, 0});
            part.masks.back().bits |= std::uint64_t{1} << (bit % 64);
        }
    }
    for (const Part& part : parts_) fold_masks_.push_back(part.masks.empty() ? 0 : part.masks[0].bits);
}

}  // namespace dmth_fast::cpu
