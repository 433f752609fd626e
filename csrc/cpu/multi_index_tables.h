// The tables of a multi-index, read by multi_index_search.cpp. multi_index.h says what they are.
#pragma once

#include <cstdint>
#include <vector>

#include "multi_index.h"
#include "multi_index_groups.h"
#include "multi_index_keys.h"
#include "pages.h"

namespace dmth_fast::cpu {

template <class Row>
struct Table {
    PagedArray<Row> offsets;  // 2^bits + 1
    PagedArray<std::uint64_t> folds;
    PagedArray<Row> firsts;  // first row of each posting's code

    // Interrupted: false.
    bool build(int table, const KeyLayout& layout, Codes codes, const PagedArray<Row>& distinct,
               const Call& call);
};

template <class Row>
class Tables final : public MultiIndex {
  public:
    static std::unique_ptr<const MultiIndex> build(Codes codes, const Call& call);

    std::int64_t rows() const override { return rows_; }
    std::int64_t distinct() const override { return distinct_; }
    int tables() const override { return layout_.tables(); }
    std::int64_t memory() const override;
    std::unique_ptr<Searcher> searcher(Codes codes, const Kernels& kernels, double pace) const override;
    double pace(Codes codes, const Kernels& kernels) const override;

    const KeyLayout& layout() const { return layout_; }
    const Groups<Row>& groups() const { return groups_; }
    const Table<Row>& table(int i) const { return parts_[static_cast<std::size_t>(i)]; }

  private:
    Tables(std::int64_t rows, std::int64_t distinct, KeyLayout layout, Groups<Row> groups)
        : rows_(rows), distinct_(distinct), layout_(std::move(layout)), groups_(std::move(groups)) {}

    std::int64_t rows_;
    std::int64_t distinct_;
    KeyLayout layout_;
    Groups<Row> groups_;
    std::vector<Table<Row>> parts_;
};

// Defined in multi_index_search.cpp.
template <class Row>
std::unique_ptr<MultiIndex::Searcher> make_searcher(const Tables<Row>& tables, Codes codes,
                                                    const Kernels& kernels, double pace);

// Defined in multi_index_price.cpp.
template <class Row>
double measure_pace(const Tables<Row>& tables, Codes codes, const Kernels& kernels);

}  // namespace dmth_fast::cpu
