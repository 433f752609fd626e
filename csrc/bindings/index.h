// The class of stored codes.
#pragma once

#include <pybind11/pybind11.h>

namespace dmth_fast {

void bind_index(pybind11::module_& m);

}  // namespace dmth_fast
