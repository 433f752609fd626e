// Building: equal codes collapse, then a bucket sort a table, partitions first, each then sorted in the
// cache.
#include "multi_index_tables.h"

#include <algorithm>

#include "multi_index_partition.h"
#include "threads.h"

namespace dmth_fast::cpu {
namespace {

template <class Row>
struct Keyed {
    std::uint64_t fold;
    Row row;
    std::uint32_t key;
};

}  // namespace

template <class Row>
bool Table<Row>::build(int table, const KeyLayout& layout, Codes codes, const PagedArray<Row>& distinct,
                       const Call& call) {
    const int bits = layout.bits(table);
    const int part_bits = std::min(bits, partition_bits(distinct.size()));
    const int low_bits = bits - part_bits;
    const std::int64_t parts = std::int64_t{1} << part_bits;
    Partitions<Keyed<Row>> keyed;
    const auto make = [&](std::int64_t i, Keyed<Row>& item) {
        const std::uint8_t* code = codes.row(static_cast<std::int64_t>(distinct[i]));
        item = {fold(code, codes.bytes), distinct[i], layout.key(table, code)};
        return item.key >> low_bits;
    };
    if (!partition(distinct.size(), parts, call.threads, call.interrupted, make, keyed)) return false;

    offsets = PagedArray<Row>((std::int64_t{1} << bits) + 1);
    folds = PagedArray<std::uint64_t>(distinct.size());
    firsts = PagedArray<Row>(distinct.size());
    offsets[std::int64_t{1} << bits] = static_cast<Row>(distinct.size());
    const auto sort = [&](std::int64_t part, int) {
        const Keyed<Row>* begin = keyed.items.data() + keyed.begins[static_cast<std::size_t>(part)];
        const Keyed<Row>* end = keyed.items.data() + keyed.begins[static_cast<std::size_t>(part) + 1];
        const std::uint32_t low = (std::uint32_t{1} << low_bits) - 1;
        std::vector<Row> places((std::size_t{1} << low_bits), 0);
        for (const Keyed<Row>* item = begin; item != end; ++item) ++places[item->key & low];
        auto next = static_cast<Row>(keyed.begins[static_cast<std::size_t>(part)]);
        Row* const starts = offsets.data() + (part << low_bits);
        for (std::size_t key = 0; key < places.size(); ++key) {
            starts[key] = next;
            next = static_cast<Row>(next + places[key]);
            places[key] = starts[key];
        }
        for (const Keyed<Row>* item = begin; item != end; ++item) {
            const auto place = static_cast<std::int64_t>(places[item->key & low]++);
            folds[place] = item->fold;
            firsts[place] = item->row;
        }
    };
    return parallel_for(parts, call.threads, sort, call.interrupted);
}

template <class Row>
std::unique_ptr<const MultiIndex> Tables<Row>::build(Codes codes, const Call& call) {
    Groups<Row> groups;
    PagedArray<Row> distinct;
    if (!groups.build(codes, call, distinct)) return nullptr;
    std::unique_ptr<Tables> tables(
        new Tables(codes.rows, distinct.size(), KeyLayout(codes, distinct.size()), std::move(groups)));
    tables->parts_.resize(static_cast<std::size_t>(tables->layout_.tables()));
    for (int i = 0; i < tables->layout_.tables(); ++i) {
        Table<Row>& part = tables->parts_[static_cast<std::size_t>(i)];
        if (!part.build(i, tables->layout_, codes, distinct, call)) return nullptr;
    }
    return tables;
}

template <class Row>
std::int64_t Tables<Row>::memory() const {
    std::int64_t sum = groups_.memory();
    for (const Table<Row>& part : parts_) {
        sum += part.offsets.bytes() + part.folds.bytes() + part.firsts.bytes();
    }
    return sum;
}

template <class Row>
std::unique_ptr<MultiIndex::Searcher> Tables<Row>::searcher(Codes codes, const Kernels& kernels,
                                                            double pace) const {
    return make_searcher(*this, codes, kernels, pace);
}

template <class Row>
double Tables<Row>::pace(Codes codes, const Kernels& kernels) const {
    return measure_pace(*this, codes, kernels);
}

std::unique_ptr<const MultiIndex> MultiIndex::build(Codes codes, const Call& call) {
    if (codes.rows >= std::int64_t{0xffffffff}) return build_wide(codes, call);
    return Tables<std::uint32_t>::build(codes, call);
}

std::unique_ptr<const MultiIndex> MultiIndex::build_wide(Codes codes, const Call& call) {
    return Tables<std::uint64_t>::build(codes, call);
}

}  // namespace dmth_fast::cpu
