// Which rows are relevant to which query, in the form that kernel "tally" takes: whole blocks, and bit masks
// of single blocks.
//
// Class ids: rows are grouped by class once, so that the relevant rows of a query are one stretch: blocks
// inside it are counted as relevant or as the rest, and only the two blocks at its ends twice. For few
// queries the bits of the ids become planes, and their conjunction the mask of a class.
// Multi-hot masks: label columns become bit planes, as the codes do, and the labels of a query select the
// planes that are joined, or, where shared labels count as grades, added in bit slices.
// Cost: a pass over the labels, and a fraction of what slicing the distances of a block costs.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "../retrieval.h"
#include "kernels.h"
#include "planes.h"

namespace dmth_fast::cpu {

// A cache line: a plane of a block, or a mask.
struct Line {
    alignas(64) std::uint64_t words[kBlockWords];
};

// Blocks with rows of one grade: the mask of which[i] is masks[i].
struct Marked {
    std::vector<std::int32_t> which;
    std::vector<Line> masks;
    std::int64_t rows = 0;

    void clear() {
        which.clear();
        masks.clear();
        rows = 0;
    }
    void add(std::int32_t block, const Line& mask);
};

class Relevance {
  public:
    virtual ~Relevance() = default;

    // The row that stands at a place, 0 <= place < rows; null: every row stands at its own.
    virtual const std::int64_t* order() const { return nullptr; }

    // Gets ready for the blocks [first, end).
    virtual bool prepare(std::int64_t first, std::int64_t end, const Call& call) = 0;

    // Blocks [begin, end) that hold no row but relevant ones, and need no mask.
    virtual std::pair<std::int64_t, std::int64_t> whole(std::int64_t) const { return {0, 0}; }

    // For grade g of 1, 2, ... the other prepared blocks of [first, end) with rows of that grade to
    // marked[g - 1], numbered from `first` on.
    virtual void mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const = 0;
};

// Rows in the order of their class, stable, and where each class begins.
class ByClass final : public Relevance {
  public:
    ByClass(const std::int64_t* classes, std::int64_t rows, const std::int64_t* asked);

    const std::int64_t* order() const override { return order_.data(); }
    bool prepare(std::int64_t, std::int64_t, const Call&) override { return true; }
    std::pair<std::int64_t, std::int64_t> whole(std::int64_t query) const override;
    void mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const override;

  private:
    std::pair<std::int64_t, std::int64_t> places_of(std::int64_t id) const;

    const std::int64_t* asked_;
    std::vector<std::int64_t> order_;
    std::int64_t least_ = 0;
    std::vector<std::int64_t> starts_;
    std::vector<std::int64_t> sorted_;
};

inline constexpr int kMostGrades = 4096;

// Rows as they stand, and the bit planes of their classes: for few queries, who do not pay for the grouping.
class ByClassBits final : public Relevance {
  public:
    ByClassBits(const std::int64_t* classes, std::int64_t rows, const std::int64_t* asked);

    bool prepare(std::int64_t first, std::int64_t end, const Call& call) override;
    void mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const override;

  private:
    const std::int64_t* classes_;
    std::int64_t rows_;
    const std::int64_t* asked_;
    std::uint64_t base_;  // of one row; the others are told by where they differ from it
    std::uint64_t varying_ = 0;
    std::int64_t bytes_ = 1;  // that hold the varying bits
    std::int64_t first_ = 0;
    std::vector<Line> planes_;
};

// Rows by the number of labels that they share with a query, at most `grades`.
class BySharedLabels final : public Relevance {
  public:
    BySharedLabels(Labels rows, std::int64_t count, Labels queries, std::int64_t asked, int grades);

    bool prepare(std::int64_t first, std::int64_t end, const Call& call) override;
    void mark(std::int64_t query, std::int64_t first, std::int64_t end, Marked* marked) const override;

  private:
    Labels rows_;
    std::int64_t count_;
    int grades_;
    std::vector<std::size_t> starts_;       // of each query's labels in planes_of_
    std::vector<std::uint32_t> planes_of_;  // first line of a label's plane within a block
    std::int64_t first_ = 0;
    std::int64_t block_lines_;
    std::vector<Line> planes_;
};

std::unique_ptr<Relevance> relevance_of(Labels rows, std::int64_t count, Labels queries, std::int64_t asked,
                                        int grades);

}  // namespace dmth_fast::cpu
