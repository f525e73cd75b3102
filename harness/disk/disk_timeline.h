// What a workload had done and told when a recorded disk stopped: its trace on the disk's time
// line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::harness {

/// The acknowledgements of a trace, in the order of acknowledgements().
struct AcknowledgementTimes {
  std::vector<std::uint64_t> stamps;  // of the disk; ascending
  std::vector<std::size_t> ends;      // ends[k]: bytes that had been told after k of them
};
AcknowledgementTimes acknowledgement_times(const faultinject::Trace& trace);

/// The trace as it was when the disk stopped after `stamp`: without the events that had not
/// returned by then.
faultinject::Trace trace_until(const faultinject::Trace& trace, std::uint64_t stamp);

}  // namespace crashgate::harness
