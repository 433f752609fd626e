// NumPy arrays of the bindings, and how a verb runs on them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "../retrieval.h"
#include "unlocked.h"

namespace dmth_fast {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
Array<T> empty(std::int64_t rows, std::int64_t columns) {
    return Array<T>({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
}

template <class T>
Array<T> zeros(std::int64_t rows, std::int64_t columns) {
    Array<T> array = empty<T>(rows, columns);
    std::fill_n(array.mutable_data(), array.size(), T{});
    return array;
}

// Whether a signal handler has raised.
inline bool interrupted() {
    return or_sleep([] {
        const py::gil_scoped_acquire lock;
        return PyErr_CheckSignals() != 0;
    });
}

// Runs a verb without the interpreter's lock; a signal handler's exception (KeyboardInterrupt) is passed on.
template <class Verb>
auto run(const std::string& isa, int threads, const Verb& verb) {
    const cpu::Kernels* kernels = cpu::kernels_of(isa);
    if (kernels == nullptr) throw std::invalid_argument("unknown or unsupported isa '" + isa + "'");
    if (threads < 1)
        throw std::invalid_argument("threads must be at least 1, got " + std::to_string(threads));
    bool stopped = false;
    const cpu::Call call{kernels, threads, [&stopped] {
                             if (!stopped) stopped = interrupted();
                             return stopped;
                         }};
    const auto body = [&] {
        const Unlocked unlock;
        return verb(call);
    };
    if constexpr (std::is_void_v<decltype(verb(call))>) {
        body();
        if (stopped) throw py::error_already_set();
    } else {
        auto result = body();
        if (stopped) throw py::error_already_set();
        return result;
    }
}

}  // namespace dmth_fast
