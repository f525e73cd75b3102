#include "faultinject/recording.h"

namespace crashgate::faultinject {

bool told_only_at_exit(const Trace& trace) {
  bool told = false;
  for (const TraceEvent& event : trace.events) {
    if (event.kind == EventKind::kAcknowledgement) told = true;
    if (event.kind == EventKind::kStorage && told) return false;
  }
  return told && trace.events.front().kind != EventKind::kAcknowledgement;
}

}  // namespace crashgate::faultinject
