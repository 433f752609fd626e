#include "ties.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "../retrieval.h"
#include "arrays.h"

namespace dmth_fast {
namespace {

cpu::TiedGroups tied_groups(const Array<std::int64_t>& every, const Array<std::int64_t>& relevant,
                            const std::string& ties) {
    if (every.ndim() != 2 || relevant.ndim() != 2 || relevant.shape(0) != every.shape(0) ||
        relevant.shape(1) != every.shape(1)) {
        throw std::invalid_argument("every and relevant must have the same shape (q, groups)");
    }
    cpu::TiedGroups of{every.data(), relevant.data(), every.shape(0), every.shape(1), cpu::Ties::kExpected};
    if (ties == "pessimistic") {
        of.ties = cpu::Ties::kPessimistic;
    } else if (ties == "optimistic") {
        of.ties = cpu::Ties::kOptimistic;
    } else if (ties != "expected") {
        throw std::invalid_argument("ties must be expected, pessimistic or optimistic, got '" + ties + "'");
    }
    return of;
}

void check_each_query(py::ssize_t dimensions, py::ssize_t size, std::int64_t queries, const char* name) {
    if (dimensions != 1 || size != queries) {
        throw std::invalid_argument(std::string(name) + " must have shape (" + std::to_string(queries) +
                                    ",)");
    }
}

py::tuple tied_sums(const Array<std::int64_t>& every, const Array<std::int64_t>& relevant,
                    const Array<std::int64_t>& cutoffs, const std::string& ties, bool precisions, int threads,
                    const std::string& isa) {
    const cpu::TiedGroups of = tied_groups(every, relevant, ties);
    check_each_query(cutoffs.ndim(), cutoffs.size(), of.queries, "cutoffs");
    Array<double> hits(of.queries);
    Array<double> sums(precisions ? of.queries : 0);
    double* hit_data = hits.mutable_data();
    double* sum_data = precisions ? sums.mutable_data() : nullptr;
    run(isa, threads,
        [&](const cpu::Call& call) { cpu::tied_sums(of, cutoffs.data(), hit_data, sum_data, call); });
    return py::make_tuple(hits, sums);
}

Array<double> tied_discounts(const Array<std::int64_t>& every, const Array<std::int64_t>& relevant,
                             const Array<std::int64_t>& cutoffs, const Array<double>& discounts,
                             const std::string& ties, int threads, const std::string& isa) {
    const cpu::TiedGroups of = tied_groups(every, relevant, ties);
    check_each_query(cutoffs.ndim(), cutoffs.size(), of.queries, "cutoffs");
    for (py::ssize_t q = 0; q < cutoffs.size(); ++q) {
        if (discounts.ndim() != 1 || cutoffs.data()[q] >= discounts.size()) {
            throw std::invalid_argument("discounts must be one-dimensional and longer than every cut-off");
        }
    }
    Array<double> sums(of.queries);
    double* data = sums.mutable_data();
    run(isa, threads, [&](const cpu::Call& call) {
        cpu::tied_discounts(of, cutoffs.data(), discounts.data(), data, call);
    });
    return sums;
}

py::tuple tied_firsts(const Array<std::int64_t>& every, const Array<std::int64_t>& relevant,
                      const std::string& ties, int threads, const std::string& isa) {
    const cpu::TiedGroups of = tied_groups(every, relevant, ties);
    Array<double> ranks(of.queries), reciprocals(of.queries);
    double* rank_data = ranks.mutable_data();
    double* reciprocal_data = reciprocals.mutable_data();
    run(isa, threads, [&](const cpu::Call& call) { cpu::tied_firsts(of, rank_data, reciprocal_data, call); });
    return py::make_tuple(ranks, reciprocals);
}

py::tuple radius_curves(const Array<std::int64_t>& every, const Array<std::int64_t>& relevant,
                        const Array<bool>& counted, const Array<double>& weights, const Array<double>& levels,
                        bool skip_empty, int threads, const std::string& isa) {
    const cpu::TiedGroups groups = tied_groups(every, relevant, "expected");
    check_each_query(counted.ndim(), counted.size(), groups.queries, "counted");
    if (weights.ndim() != 1 || weights.size() != groups.groups || levels.ndim() != 1) {
        throw std::invalid_argument("weights must have one entry a group, levels one dimension");
    }
    Array<double> mean(groups.queries), mean_by_cost(groups.queries);
    Array<double> sums = zeros<double>(1, 2 * groups.groups + levels.size());
    Array<std::int64_t> counts = zeros<std::int64_t>(3, groups.groups);
    const cpu::RadiusCurves of{every.data(),
                               relevant.data(),
                               groups.queries,
                               groups.groups,
                               weights.data(),
                               levels.data(),
                               levels.size(),
                               counted.data(),
                               skip_empty,
                               mean.mutable_data(),
                               mean_by_cost.mutable_data(),
                               sums.mutable_data(),
                               counts.mutable_data()};
    run(isa, threads, [&](const cpu::Call& call) { cpu::radius_curves(of, call); });
    return py::make_tuple(mean, mean_by_cost, sums, counts);
}

}  // namespace

void bind_ties(py::module_& m) {
    const py::arg threads("threads");
    const py::arg isa("isa");
    m.def("tied_sums", &tied_sums, py::arg("every").noconvert(), py::arg("relevant").noconvert(),
          py::arg("cutoffs").noconvert(), py::arg("ties"), py::arg("precisions"), threads, isa);
    m.def("tied_discounts", &tied_discounts, py::arg("every").noconvert(), py::arg("relevant").noconvert(),
          py::arg("cutoffs").noconvert(), py::arg("discounts").noconvert(), py::arg("ties"), threads, isa);
    m.def("tied_firsts", &tied_firsts, py::arg("every").noconvert(), py::arg("relevant").noconvert(),
          py::arg("ties"), threads, isa);
    m.def("radius_curves", &radius_curves, py::arg("every").noconvert(), py::arg("relevant").noconvert(),
          py::arg("counted").noconvert(), py::arg("weights").noconvert(), py::arg("levels").noconvert(),
          py::arg("skip_empty"), threads, isa);
}

}  // namespace dmth_fast
