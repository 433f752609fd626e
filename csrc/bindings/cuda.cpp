// Module dmth_fast._cuda: the verbs on device memory, as addresses.
//
// Only python/dmth_fast/retrieval/native.py imports it. Arguments are addresses of tensors that Python owns
// and has checked, and the handle of its current stream. Importing it and `status()` work without a driver.
// The interpreter's lock is released while work is handed to the device; nothing here waits for it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>

#include "../cuda/runtime.h"
#include "../cuda/status.h"
#include "../cuda/verbs.h"
#include "unlocked.h"

namespace py = pybind11;

namespace dmth_fast::cuda {
namespace {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

cudaStream_t stream_of(Address handle) {
    return at<CUstream_st>(handle);
}

Codes codes_of(Address data, std::int64_t rows, std::int64_t bytes) {
    if (bytes < 1 || bytes > kMaxBytes) {
        throw std::invalid_argument("codes must have 1 to " + std::to_string(kMaxBytes) +
                                    " bytes a row, got " + std::to_string(bytes));
    }
    return {at<const std::uint8_t>(data), rows, bytes};
}

Method method_of(const std::string& name) {
    if (name == "auto") return Method::kAuto;
    if (name == "popcount") return Method::kPopcount;
    if (name == "tensor") return Method::kTensor;
    if (name == "sliced") return Method::kSliced;
    if (name == "warpgroup") return Method::kWarpgroup;
    throw std::invalid_argument("method must be auto, popcount, tensor, sliced or warpgroup, got '" + name +
                                "'");
}

const char* name_of(Method method) {
    if (method == Method::kWarpgroup) return "warpgroup";
    return method == Method::kTensor ? "tensor" : method == Method::kSliced ? "sliced" : "popcount";
}

Element element_of(const std::string& name) {
    if (name == "float16") return Element::kHalf;
    if (name == "bfloat16") return Element::kBrain;
    if (name == "float32") return Element::kFloat;
    if (name == "float64") return Element::kDouble;
    if (name == "bool") return Element::kBool;
    throw py::type_error("values must be float16, bfloat16, float32, float64 or bool, got " + name);
}

template <class Body>
auto on_device(int device, const Body& body) {
    const Unlocked unlock;
    const DeviceGuard guard(device);
    return body();
}

py::dict device_of(int device) {
    const Machine machine = machine_of(device);
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device), "device properties");
    py::dict result;
    result["name"] = std::string(properties.name);
    result["capability"] = py::make_tuple(machine.major, machine.minor);
    result["multiprocessors"] = machine.multiprocessors;
    result["warpgroup"] = machine.warpgroup;
    result["l2_bytes"] = properties.l2CacheSize;
    result["memory_bytes"] = properties.totalGlobalMem;
    return result;
}

}  // namespace
}  // namespace dmth_fast::cuda

PYBIND11_MODULE(_cuda, m) {
    using namespace dmth_fast;
    using namespace dmth_fast::cuda;
    m.doc() = "Native retrieval verbs on CUDA devices; see dmth_fast.retrieval.native.";
    m.attr("__version__") = DMTH_FAST_VERSION;
    m.attr("architectures") = DMTH_FAST_CUDA_ARCHITECTURE_LIST;
    py::register_exception<DeviceError>(m, "DeviceError", PyExc_RuntimeError);
    py::register_exception<std::length_error>(m, "WorkspaceError", PyExc_MemoryError);

    py::class_<SearchPlan>(m, "SearchPlan")
        .def_readonly("workspace_bytes", &SearchPlan::workspace_bytes)
        .def_readonly("queries_per_pass", &SearchPlan::queries_per_pass)
        .def_readonly("capacity", &SearchPlan::capacity)
        .def_property_readonly("stages", [](const SearchPlan& plan) {
            py::list stages;
            for (const Stage& stage : plan.stages) {
                stages.append(py::make_tuple(stage.first, stage.end, name_of(stage.method)));
            }
            return stages;
        });
    py::class_<RangePlan>(m, "RangePlan")
        .def_readonly("workspace_bytes", &RangePlan::workspace_bytes)
        .def_readonly("queries_per_pass", &RangePlan::queries_per_pass);

    m.def("status", [] {
        const Status found = status();
        return py::make_tuple(found.driver, found.runtime, found.devices, found.reason);
    });
    m.def("reason_of",
          [](int driver, int runtime, int devices) { return reason_of(driver, runtime, devices, nullptr); });
    m.def("device", &device_of, py::arg("device"));

    m.def("search_plan", [](std::int64_t rows, std::int64_t queries, int bytes, std::int64_t k,
                            const std::string& method, int device, std::int64_t budget) {
        return plan_search(rows, queries, bytes, k, method_of(method), machine_of(device), budget);
    });
    m.def("range_plan",
          [](std::int64_t rows, std::int64_t queries, int bytes, int device, std::int64_t budget) {
              return plan_range(rows, queries, bytes, machine_of(device), budget);
          });

    m.def("pack", [](Address values, const std::string& element, std::int64_t rows, std::int64_t bits,
                     double threshold, Address out, Address first_nan, int device, Address stream) {
        const Element type = element_of(element);
        on_device(device, [&] {
            pack(at<const void>(values), type, rows, bits, threshold, at<std::uint8_t>(out),
                 at<unsigned long long>(first_nan), stream_of(stream));
        });
    });
    m.def("hamming_distances", [](Address codes, std::int64_t rows, Address queries, std::int64_t count,
                                  std::int64_t bytes, Address out, int device, Address stream) {
        const Codes database = codes_of(codes, rows, bytes), wanted = codes_of(queries, count, bytes);
        on_device(device, [&] {
            hamming_distances(database, wanted, at<std::int32_t>(out), machine_of(device), stream_of(stream));
        });
    });
    m.def("search", [](const SearchPlan& plan, Address codes, Address queries, Address filter,
                       Address workspace, Address distances, Address ids, int device, Address stream) {
        const Codes database = codes_of(codes, plan.rows, plan.bytes);
        const Codes wanted = codes_of(queries, plan.queries, plan.bytes);
        on_device(device, [&] {
            search(database, wanted, at<const std::uint8_t>(filter), plan, at<void>(workspace),
                   at<std::int32_t>(distances), at<std::int64_t>(ids), stream_of(stream));
        });
    });
    m.def("range_count",
          [](const RangePlan& plan, Address codes, Address queries, Address filter, std::int32_t radius,
             Address workspace, Address counts, int device, Address stream) {
              const Codes database = codes_of(codes, plan.rows, plan.bytes);
              const Codes wanted = codes_of(queries, plan.queries, plan.bytes);
              on_device(device, [&] {
                  range_count(database, wanted, at<const std::uint8_t>(filter), radius, plan,
                              at<void>(workspace), at<std::int64_t>(counts), stream_of(stream));
              });
          });
    m.def("range_write",
          [](const RangePlan& plan, Address codes, Address queries, Address filter, std::int32_t radius,
             Address workspace, Address offsets, Address distances, Address ids, int device, Address stream) {
              const Codes database = codes_of(codes, plan.rows, plan.bytes);
              const Codes wanted = codes_of(queries, plan.queries, plan.bytes);
              on_device(device, [&] {
                  range_write(database, wanted, at<const std::uint8_t>(filter), radius, plan,
                              at<void>(workspace), at<const std::int64_t>(offsets),
                              at<std::int32_t>(distances), at<std::int64_t>(ids), stream_of(stream));
              });
          });
    m.def("histograms", [](Address codes, std::int64_t rows, Address queries, std::int64_t count,
                           std::int64_t bytes, Address row_labels, Address query_labels, std::int64_t words,
                           Address all, Address relevant, const std::string& method, int device,
                           Address stream) {
        const Method chosen = method_of(method);
        const Codes database = codes_of(codes, rows, bytes), wanted = codes_of(queries, count, bytes);
        const auto labels = [words](Address data) {
            return words == 0 ? Labels{at<const std::int64_t>(data), nullptr, 0}
                              : Labels{nullptr, at<const std::uint64_t>(data), words};
        };
        on_device(device, [&] {
            histograms(database, wanted, labels(row_labels), labels(query_labels), at<std::int64_t>(all),
                       at<std::int64_t>(relevant), chosen, machine_of(device), stream_of(stream));
        });
    });
    m.def("product_threads", [](int device) { return product_threads(machine_of(device)); });
    m.def("repeat_products", [](const std::string& method, int bits, std::int64_t repeats, Address out,
                                int device, Address stream) {
        const Method chosen = method_of(method);
        on_device(device, [&] {
            repeat_products(chosen, bits, repeats, at<std::int32_t>(out), machine_of(device),
                            stream_of(stream));
        });
    });
}
