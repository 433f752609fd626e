// Codes that are kept for many searches, as a class.
#include "index.h"

#include <pybind11/stl.h>

#include "../cpu/index.h"
#include "codearrays.h"

namespace dmth_fast {
namespace {

Codes index_view(const cpu::Index& index, const Array<std::uint8_t>& codes, const char* name) {
    const Codes view_of = view(codes, name);
    if (view_of.bytes != index.bytes()) {
        throw std::invalid_argument(std::string(name) + " must have " + std::to_string(index.bytes()) +
                                    " bytes a row, got " + std::to_string(view_of.bytes));
    }
    return view_of;
}

std::unique_ptr<cpu::Index> make_index(std::int64_t bytes) {
    if (bytes < 1 || bytes > kMaxBytes) throw std::invalid_argument("bytes must be 1 to 512");
    return std::make_unique<cpu::Index>(bytes);
}

// Whoever waits for the index's lock must not hold the interpreter's: its owner may be waiting for that.
std::int64_t index_size(const cpu::Index& index) {
    const Unlocked unlock;
    return index.size();
}

std::int64_t index_memory(const cpu::Index& index) {
    const Unlocked unlock;
    return index.memory();
}

std::int64_t index_add(cpu::Index& index, const Array<std::uint8_t>& codes, int threads,
                       const std::string& isa) {
    const Codes rows = index_view(index, codes, "codes");
    return run(isa, threads, [&](const cpu::Call& call) { return index.add(rows, call); });
}

Array<std::uint8_t> index_rows(const cpu::Index& index, const Array<std::int64_t>& ids) {
    if (ids.ndim() != 1) throw std::invalid_argument("ids must have one dimension");
    Array<std::uint8_t> out = empty<std::uint8_t>(ids.shape(0), index.bytes());
    std::uint8_t* data = out.mutable_data();
    bool found = false;
    {
        const Unlocked unlock;
        found = index.rows(ids.data(), ids.shape(0), data);
    }
    if (!found) throw py::index_error("ids must be in [0, " + std::to_string(index_size(index)) + ")");
    return out;
}

cpu::Method method_of(const std::string& method) {
    if (method == "scan") return cpu::Method::kScan;
    if (method == "mih") return cpu::Method::kTables;
    if (method == "auto") return cpu::Method::kAuto;
    throw std::invalid_argument("unknown method '" + method + "'");
}

py::tuple index_search(const cpu::Index& index, const Array<std::uint8_t>& queries, std::int64_t k,
                       const std::string& method, int threads, const std::string& isa) {
    const Codes asked = index_view(index, queries, "queries");
    const cpu::Method how = method_of(method);
    const std::int64_t rows = index_size(index);
    const std::int64_t columns = columns_of(k, rows);
    return neighbours(asked.rows, columns, isa, threads,
                      [&](std::int32_t* distances, std::int64_t* ids, const cpu::Call& call) {
                          index.search(asked, rows, columns, how, distances, ids, call);
                      });
}

py::tuple index_range_search(const cpu::Index& index, const Array<std::uint8_t>& queries, std::int64_t radius,
                             const std::string& method, int threads, const std::string& isa) {
    const Codes asked = index_view(index, queries, "queries");
    const std::int32_t bound = radius_of(radius, asked);
    const cpu::Method how = method_of(method);
    return csr(run(isa, threads,
                   [&](const cpu::Call& call) { return index.range_search(asked, bound, how, call); }));
}

// As many rows as a mask is for have been there: an index does not shrink.
Kept kept_rows(const cpu::Index& index, const Array<std::uint64_t>& keep, std::int64_t rows) {
    if (rows < 0 || rows > index_size(index)) {
        throw std::invalid_argument("rows must be from 0 to " + std::to_string(index_size(index)) + ", got " +
                                    std::to_string(rows));
    }
    return kept_of(keep, rows);
}

py::tuple index_search_kept(const cpu::Index& index, const Array<std::uint8_t>& queries, std::int64_t k,
                            const Array<std::uint64_t>& keep, std::int64_t rows, int threads,
                            const std::string& isa) {
    const Codes asked = index_view(index, queries, "queries");
    const Kept kept = kept_rows(index, keep, rows);
    const std::int64_t columns = columns_of(k, kept.count);
    return neighbours(asked.rows, columns, isa, threads,
                      [&](std::int32_t* distances, std::int64_t* ids, const cpu::Call& call) {
                          index.search_kept(asked, columns, kept, distances, ids, call);
                      });
}

py::tuple index_range_search_kept(const cpu::Index& index, const Array<std::uint8_t>& queries,
                                  std::int64_t radius, const Array<std::uint64_t>& keep, std::int64_t rows,
                                  int threads, const std::string& isa) {
    const Codes asked = index_view(index, queries, "queries");
    const std::int32_t bound = radius_of(radius, asked);
    const Kept kept = kept_rows(index, keep, rows);
    return csr(run(isa, threads,
                   [&](const cpu::Call& call) { return index.range_search_kept(asked, bound, kept, call); }));
}

void index_build(const cpu::Index& index, int threads, const std::string& isa) {
    run(isa, threads, [&](const cpu::Call& call) { index.build(call); });
}

// (tables, rows in them, distinct codes of these) and, a query: in the tables, radius, keys, postings, cost
// there and of a scan in ns.
py::tuple index_explain(const cpu::Index& index, const Array<std::uint8_t>& queries, std::int64_t k,
                        const std::string& method, int threads, const std::string& isa) {
    const Codes asked = index_view(index, queries, "queries");
    const cpu::Method how = method_of(method);
    const std::int64_t rows = index_size(index);
    const std::int64_t columns = columns_of(k, rows);
    const cpu::Index::Plan plan = run(
        isa, threads, [&](const cpu::Call& call) { return index.explain(asked, rows, columns, how, call); });
    const auto count = static_cast<py::ssize_t>(asked.rows);
    Array<bool> hashed(count);
    Array<std::int32_t> radius(count);
    Array<std::int64_t> keys(count);
    Array<std::int64_t> postings(count);
    Array<double> cost(count);
    Array<double> scan(count);
    for (py::ssize_t q = 0; q < count; ++q) {
        const auto at = static_cast<std::size_t>(q);
        const cpu::Effort& effort = plan.outcome.efforts[at];
        hashed.mutable_at(q) = plan.outcome.left[at] == 0;
        radius.mutable_at(q) = effort.radius;
        keys.mutable_at(q) = effort.keys;
        postings.mutable_at(q) = effort.postings;
        cost.mutable_at(q) = effort.expected;
        scan.mutable_at(q) = plan.outcome.prices[at];
    }
    return py::make_tuple(py::make_tuple(plan.tables, plan.rows, plan.distinct),
                          py::make_tuple(hashed, radius, keys, postings, cost, scan));
}

Array<std::int64_t> index_range_count(const cpu::Index& index, const Array<std::uint8_t>& queries,
                                      std::int64_t radius, int threads, const std::string& isa) {
    const Codes asked = index_view(index, queries, "queries");
    const std::int32_t bound = radius_of(radius, asked);
    Array<std::int64_t> counts(static_cast<py::ssize_t>(asked.rows));
    std::int64_t* data = counts.mutable_data();
    run(isa, threads, [&](const cpu::Call& call) { index.range_count(asked, bound, data, call); });
    return counts;
}

}  // namespace

void bind_index(py::module_& m) {
    const auto codes = py::arg("codes").noconvert();
    const auto queries = py::arg("queries").noconvert();
    const py::arg threads("threads");
    const py::arg isa("isa");
    py::class_<cpu::Index>(m, "Index")
        .def(py::init(&make_index), py::arg("bytes"))
        .def("__len__", &index_size)
        .def_property_readonly("memory", &index_memory)
        .def("add", &index_add, codes, threads, isa)
        .def("rows", &index_rows, py::arg("ids").noconvert())
        .def("search", &index_search, queries, py::arg("k"), py::arg("method"), threads, isa)
        .def("range_search", &index_range_search, queries, py::arg("radius"), py::arg("method"), threads, isa)
        .def("search_kept", &index_search_kept, queries, py::arg("k"), py::arg("keep").noconvert(),
             py::arg("rows"), threads, isa)
        .def("range_search_kept", &index_range_search_kept, queries, py::arg("radius"),
             py::arg("keep").noconvert(), py::arg("rows"), threads, isa)
        .def("build", &index_build, threads, isa)
        .def("explain", &index_explain, queries, py::arg("k"), py::arg("method"), threads, isa)
        .def("range_count", &index_range_count, queries, py::arg("radius"), threads, isa);
}

}  // namespace dmth_fast
