#include "harness/crash_state/barrier_removal.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "faultinject/syscall_table.h"

namespace crashgate::harness {

using nlohmann::json;

std::vector<std::size_t> barriers_of(const faultinject::Trace& trace) {
  std::vector<std::size_t> barriers;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    const auto& event = trace.events[i];
    if (event.kind != faultinject::EventKind::kStorage || event.result < 0 || event.end == 0)
      continue;
    const auto kind = faultinject::row_info(event.row).kind;
    if (kind == faultinject::Kind::kBarrier || event.sync != faultinject::WriteSync::kNone)
      barriers.push_back(i);
  }
  return barriers;
}

faultinject::TraceEvent without_barrier(faultinject::TraceEvent event) {
  if (event.sync != faultinject::WriteSync::kNone) {
    event.sync = faultinject::WriteSync::kNone;
  } else {
    event.row = faultinject::Row::k_sync_file_range;  // a hint: no barrier at all
  }
  return event;
}

void add_barrier_test(std::vector<BarrierTest>& all, const BarrierTest& test) {
  const auto same = std::ranges::find_if(all, [&](const BarrierTest& other) {
    return other.subject == test.subject && other.event == test.event;
  });
  if (same == all.end()) {
    all.push_back(test);
    return;
  }
  same->noticed = same->noticed || test.noticed;
  same->exhaustive = same->exhaustive && test.exhaustive;
  same->states_added += test.states_added;
}

json to_json(const BarrierTest& test) {
  return {{"subject", test.subject},
          {"event", test.event},
          {"noticed", test.noticed},
          {"exhaustive", test.exhaustive},
          {"added", test.states_added}};
}

BarrierTest barrier_test_from_json(const json& from) {
  return {from.at("subject"), from.at("event"), from.at("noticed"), from.at("exhaustive"),
          from.at("added")};
}

}  // namespace crashgate::harness
