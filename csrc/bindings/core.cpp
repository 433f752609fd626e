// Module dmth_fast._core: the native verbs on NumPy arrays.
//
// Only python/dmth_fast/retrieval/native.py imports it. Arrays are taken as they are (`noconvert`): another
// dtype is a TypeError, never a copy. The lock of the interpreter is released while the engine works; the
// calling thread asks for signals now and then, so that Ctrl-C ends a long search.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "../retrieval.h"
#include "codearrays.h"
#include "index.h"
#include "ties.h"

namespace py = pybind11;

namespace dmth_fast {
namespace {

struct Pair {
    Codes codes;
    Codes queries;
};

Pair views(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries) {
    const Pair pair{view(codes, "codes"), view(queries, "queries")};
    if (pair.codes.bytes != pair.queries.bytes) {
        throw std::invalid_argument("codes have " + std::to_string(pair.codes.bytes) +
                                    " bytes a row, queries " + std::to_string(pair.queries.bytes));
    }
    if (pair.codes.bytes < 1 || pair.codes.bytes > kMaxBytes) {
        throw std::invalid_argument("codes must have 1 to " + std::to_string(kMaxBytes) +
                                    " bytes a row, got " + std::to_string(pair.codes.bytes));
    }
    return pair;
}

Labels labels_of(const py::array& labels, std::int64_t rows, const char* name) {
    if (labels.ndim() < 1 || labels.shape(0) != rows) {
        throw std::invalid_argument(std::string(name) + " must have one entry for each of " +
                                    std::to_string(rows) + " rows");
    }
    if (labels.ndim() == 1 && Array<std::int64_t>::check_(labels)) {
        return {static_cast<const std::int64_t*>(labels.data()), nullptr, 0};
    }
    if (labels.ndim() == 2 && Array<std::uint64_t>::check_(labels)) {
        return {nullptr, static_cast<const std::uint64_t*>(labels.data()), labels.shape(1)};
    }
    throw py::type_error(std::string(name) + " must be (n,) int64 or (n, words) uint64");
}

struct LabelPair {
    Labels codes;
    Labels queries;
};

LabelPair label_views(const py::array& code_labels, const py::array& query_labels, const Pair& pair) {
    const LabelPair labels{labels_of(code_labels, pair.codes.rows, "database_labels"),
                           labels_of(query_labels, pair.queries.rows, "query_labels")};
    if (code_labels.ndim() != query_labels.ndim() || labels.codes.words != labels.queries.words) {
        throw std::invalid_argument("database_labels and query_labels must be of the same kind and width");
    }
    return labels;
}

Array<std::uint8_t> pack(const py::array& values, double threshold, int threads, const std::string& isa) {
    if (values.ndim() != 2) throw std::invalid_argument("values must have two dimensions");
    Scalar type{};
    if (Array<float>::check_(values)) {
        type = Scalar::kFloat;
    } else if (Array<double>::check_(values)) {
        type = Scalar::kDouble;
    } else if (Array<bool>::check_(values)) {
        type = Scalar::kBool;
    } else if (values.dtype().is(py::dtype("float16")) && (values.flags() & py::array::c_style) != 0) {
        type = Scalar::kHalf;
    } else {
        throw py::type_error("values must be C-contiguous float16, float32, float64 or bool");
    }
    const std::int64_t rows = values.shape(0);
    const std::int64_t bits = values.shape(1);
    if (bits < 1 || bits > kMaxBits) throw std::invalid_argument("values must have 1 to 4096 columns");
    Array<std::uint8_t> out = empty<std::uint8_t>(rows, (bits + 7) / 8);
    std::uint8_t* bytes = out.mutable_data();
    const std::int64_t nan = run(isa, threads, [&](const cpu::Call& call) {
        return cpu::pack(values.data(), type, rows, bits, threshold, bytes, call);
    });
    if (nan >= 0) {
        throw std::invalid_argument("values must not contain NaN, got NaN in row " +
                                    std::to_string(nan / bits) + ", column " + std::to_string(nan % bits));
    }
    return out;
}

Array<std::int32_t> hamming_distances(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                                      int threads, const std::string& isa) {
    const Pair pair = views(codes, queries);
    Array<std::int32_t> out = empty<std::int32_t>(pair.queries.rows, pair.codes.rows);
    std::int32_t* data = out.mutable_data();
    run(isa, threads,
        [&](const cpu::Call& call) { cpu::hamming_distances(pair.codes, pair.queries, data, call); });
    return out;
}

py::tuple search(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries, std::int64_t k,
                 int threads, const std::string& isa, const Mask& keep) {
    const Pair pair = views(codes, queries);
    const Kept kept = kept_of(keep, pair.codes.rows);
    const std::int64_t columns = columns_of(k, kept.count);
    return neighbours(pair.queries.rows, columns, isa, threads,
                      [&](std::int32_t* distances, std::int64_t* ids, const cpu::Call& call) {
                          cpu::search(pair.codes, pair.queries, columns, distances, ids, kept, call);
                      });
}

py::tuple range_search(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                       std::int64_t radius, int threads, const std::string& isa, const Mask& keep) {
    const Pair pair = views(codes, queries);
    const std::int32_t bound = radius_of(radius, pair.codes);
    const Kept kept = kept_of(keep, pair.codes.rows);
    return csr(run(isa, threads, [&](const cpu::Call& call) {
        return cpu::range_search(pair.codes, pair.queries, bound, kept, call);
    }));
}

Array<std::int64_t> range_count(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                                std::int64_t radius, int threads, const std::string& isa) {
    const Pair pair = views(codes, queries);
    const std::int32_t bound = radius_of(radius, pair.codes);
    Array<std::int64_t> counts(static_cast<py::ssize_t>(pair.queries.rows));
    std::int64_t* data = counts.mutable_data();
    run(isa, threads,
        [&](const cpu::Call& call) { cpu::range_count(pair.codes, pair.queries, bound, data, call); });
    return counts;
}

void check_bits(std::int64_t bits, Codes codes) {
    if ((bits + 7) / 8 != codes.bytes) {
        throw std::invalid_argument("bits must need " + std::to_string(codes.bytes) + " bytes, got " +
                                    std::to_string(bits));
    }
}

py::tuple histograms(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                     const py::array& database_labels, const py::array& query_labels, std::int64_t bits,
                     int threads, const std::string& isa) {
    const Pair pair = views(codes, queries);
    check_bits(bits, pair.codes);
    const LabelPair labels = label_views(database_labels, query_labels, pair);
    Array<std::int64_t> all = zeros<std::int64_t>(pair.queries.rows, bits + 1);
    Array<std::int64_t> relevant = zeros<std::int64_t>(pair.queries.rows, bits + 1);
    std::int64_t* all_data = all.mutable_data();
    std::int64_t* relevant_data = relevant.mutable_data();
    run(isa, threads, [&](const cpu::Call& call) {
        cpu::histograms(pair.codes, pair.queries, labels.codes, labels.queries, bits, all_data, relevant_data,
                        call);
    });
    return py::make_tuple(all, relevant);
}

Array<std::int64_t> graded_histograms(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                                      const Array<std::uint64_t>& database_labels,
                                      const Array<std::uint64_t>& query_labels, std::int64_t bits,
                                      std::int64_t levels, int threads, const std::string& isa) {
    const Pair pair = views(codes, queries);
    check_bits(bits, pair.codes);
    const LabelPair labels = label_views(database_labels, query_labels, pair);
    if (levels < 1 || levels > 4097) {
        throw std::invalid_argument("levels must be 1 to 4097, got " + std::to_string(levels));
    }
    Array<std::int64_t> counts({static_cast<py::ssize_t>(pair.queries.rows),
                                static_cast<py::ssize_t>(bits + 1), static_cast<py::ssize_t>(levels)});
    std::int64_t* data = counts.mutable_data();
    std::fill_n(data, counts.size(), 0);
    run(isa, threads, [&](const cpu::Call& call) {
        cpu::graded_histograms(pair.codes, pair.queries, labels.codes, labels.queries, bits,
                               static_cast<int>(levels), data, call);
    });
    return counts;
}

py::tuple relevant_ranks(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                         const py::array& database_labels, const py::array& query_labels, int threads,
                         const std::string& isa) {
    const Pair pair = views(codes, queries);
    const LabelPair labels = label_views(database_labels, query_labels, pair);
    if (pair.codes.rows >> 32 != 0) throw std::invalid_argument("codes must have fewer than 2**32 rows");
    RankResult result = run(isa, threads, [&](const cpu::Call& call) {
        return cpu::relevant_ranks(pair.codes, pair.queries, labels.codes, labels.queries, call);
    });
    Array<std::int64_t> offsets(static_cast<py::ssize_t>(result.offsets.size()), result.offsets.data());
    return py::make_tuple(offsets, adopt(std::move(result.ranks), result.offsets.back()));
}

Array<std::int64_t> self_ranks(const Array<std::uint8_t>& codes, const Array<std::uint8_t>& queries,
                               const Array<std::int64_t>& rows, int threads, const std::string& isa) {
    const Pair pair = views(codes, queries);
    if (rows.ndim() != 1 || rows.shape(0) != pair.queries.rows) {
        throw std::invalid_argument("rows must have one entry for each of " +
                                    std::to_string(pair.queries.rows) + " queries");
    }
    for (py::ssize_t i = 0; i < rows.size(); ++i) {
        if (rows.data()[i] < -1 || rows.data()[i] >= pair.codes.rows) {
            throw std::invalid_argument("rows must be from -1 to " + std::to_string(pair.codes.rows - 1) +
                                        ", got " + std::to_string(rows.data()[i]));
        }
    }
    Array<std::int64_t> ranks(static_cast<py::ssize_t>(pair.queries.rows));
    std::int64_t* data = ranks.mutable_data();
    run(isa, threads,
        [&](const cpu::Call& call) { cpu::self_ranks(pair.codes, pair.queries, rows.data(), data, call); });
    return ranks;
}

py::tuple rank_sums(const Array<std::int64_t>& offsets, const Array<std::int64_t>& ranks,
                    const Array<std::int64_t>& cutoffs, int threads, const std::string& isa) {
    const py::ssize_t queries = cutoffs.size();
    if (offsets.ndim() != 1 || ranks.ndim() != 1 || cutoffs.ndim() != 1 || offsets.size() != queries + 1) {
        throw std::invalid_argument("offsets must have one entry more than cutoffs");
    }
    for (py::ssize_t i = 0; i <= queries; ++i) {
        const std::int64_t least = i == 0 ? 0 : offsets.data()[i - 1];
        if (offsets.data()[i] < least || offsets.data()[i] > ranks.size()) {
            throw std::invalid_argument("offsets must ascend from 0 to the number of ranks");
        }
    }
    Array<std::int64_t> hits(queries);
    Array<double> precisions(queries);
    std::int64_t* hit_data = hits.mutable_data();
    double* precision_data = precisions.mutable_data();
    run(isa, threads, [&](const cpu::Call& call) {
        cpu::rank_sums(offsets.data(), queries, ranks.data(), cutoffs.data(), hit_data, precision_data, call);
    });
    return py::make_tuple(hits, precisions);
}

std::uint64_t read_probe(const Array<std::uint8_t>& data, int threads, const std::string& isa) {
    return run(isa, threads, [&](const cpu::Call& call) {
        return cpu::read_probe(data.data(), static_cast<std::int64_t>(data.size()), call);
    });
}

}  // namespace
}  // namespace dmth_fast

PYBIND11_MODULE(_core, m) {
    using namespace dmth_fast;
    m.doc() = "Native retrieval verbs on packed binary codes; see dmth_fast.retrieval.native.";
    m.attr("__version__") = DMTH_FAST_VERSION;
    m.def("isas", &cpu::available_isas);
    m.def("read_probe", &read_probe, py::arg("data").noconvert(), py::arg("threads"), py::arg("isa"));
    const auto codes = py::arg("codes").noconvert();
    const auto queries = py::arg("queries").noconvert();
    const py::arg threads("threads");
    const py::arg isa("isa");
    m.def("pack", &pack, py::arg("values"), py::arg("threshold"), threads, isa);
    m.def("hamming_distances", &hamming_distances, codes, queries, threads, isa);
    const auto no_mask = py::arg("keep").noconvert() = py::none();
    m.def("search", &search, codes, queries, py::arg("k"), threads, isa, no_mask);
    m.def("range_search", &range_search, codes, queries, py::arg("radius"), threads, isa, no_mask);
    m.def("range_count", &range_count, codes, queries, py::arg("radius"), threads, isa);
    m.def("histograms", &histograms, codes, queries, py::arg("database_labels"), py::arg("query_labels"),
          py::arg("bits"), threads, isa);
    m.def("graded_histograms", &graded_histograms, codes, queries, py::arg("database_labels").noconvert(),
          py::arg("query_labels").noconvert(), py::arg("bits"), py::arg("levels"), threads, isa);
    m.def("relevant_ranks", &relevant_ranks, codes, queries, py::arg("database_labels"),
          py::arg("query_labels"), threads, isa);
    m.def("self_ranks", &self_ranks, codes, queries, py::arg("rows").noconvert(), threads, isa);
    m.def("rank_sums", &rank_sums, py::arg("offsets").noconvert(), py::arg("ranks").noconvert(),
          py::arg("cutoffs").noconvert(), threads, isa);
    bind_ties(m);
    bind_index(m);
}
