#include "harness/crash_state/event_order.h"

#include <algorithm>

namespace crashgate::harness {

using faultinject::Trace;

std::vector<std::uint32_t> events_by_begin(const Trace& trace) {
  std::vector<std::uint32_t> events(trace.events.size());
  for (std::uint32_t at = 0; at < events.size(); ++at) events[at] = at;
  std::ranges::stable_sort(events, {}, [&](std::uint32_t at) { return trace.events[at].begin; });
  return events;
}

std::vector<std::uint32_t> events_by_end(const Trace& trace) {
  std::vector<std::uint32_t> events;
  for (std::uint32_t at = 0; at < trace.events.size(); ++at) {
    if (trace.events[at].end != 0) events.push_back(at);
  }
  std::ranges::stable_sort(events, {}, [&](std::uint32_t at) { return trace.events[at].end; });
  return events;
}

}  // namespace crashgate::harness
