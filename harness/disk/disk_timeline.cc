#include "harness/disk/disk_timeline.h"

#include <algorithm>

namespace crashgate::harness {

using faultinject::EventKind;
using faultinject::Trace;
using faultinject::TraceEvent;

AcknowledgementTimes acknowledgement_times(const Trace& trace) {
  std::vector<const TraceEvent*> told;
  for (const auto& event : trace.events) {
    if (event.kind == EventKind::kAcknowledgement && event.end != 0) told.push_back(&event);
  }
  std::ranges::stable_sort(told, {}, &TraceEvent::end);
  AcknowledgementTimes times;
  times.ends.push_back(0);
  std::uint64_t latest = 0;
  for (const auto* event : told) {
    latest = std::max(latest, event->disk_stamp);
    times.stamps.push_back(latest);
    times.ends.push_back(times.ends.back() + event->data.length);
  }
  return times;
}

Trace trace_until(const Trace& trace, std::uint64_t stamp) {
  Trace before = trace;
  std::erase_if(before.events, [&](const TraceEvent& event) {
    return event.end == 0 || event.disk_stamp > stamp;
  });
  return before;
}

}  // namespace crashgate::harness
