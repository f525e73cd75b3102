#include "faultinject/recording.h"

namespace crashgate::faultinject {

bool told_only_at_exit(const Trace& trace) {
  bool stored = false;
  bool told = false;
  bool together = false;
  for (const TraceEvent& event : trace.events) {
    if (event.kind == EventKind::kStorage) {
      if (told) return false;
      stored = true;
    } else if (event.kind == EventKind::kAcknowledgement) {
      told = true;
      const auto text = trace.data(event.data);
      together |= text.find('\n') + 1 < text.size();
    }
  }
  return stored && together;
}

}  // namespace crashgate::faultinject
