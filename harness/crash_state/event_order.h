// The events of a trace in the order of their stamps. Their order in the trace is that of their
// effects.
#pragma once

#include <cstdint>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::harness {

std::vector<std::uint32_t> events_by_begin(const faultinject::Trace& trace);
/// Those that returned.
std::vector<std::uint32_t> events_by_end(const faultinject::Trace& trace);

}  // namespace crashgate::harness
