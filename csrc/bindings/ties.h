// The verbs on histograms of groups of ties.
#pragma once

#include <pybind11/pybind11.h>

namespace dmth_fast {

void bind_ties(pybind11::module_& m);

}  // namespace dmth_fast
