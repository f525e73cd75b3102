// When each micro-operation of a trace is issued, and when a barrier has forced it, under one model
// (models.md, "States" and "Barriers").
//
// A **moment** is where the trace can be stopped: moment r is just before the r-th return of an
// event, counted by end stamps from 0; the last moment is after all returns. Between two returns
// more is issued and nothing is forced, so what may be found at any other time may be found at a
// moment.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/crash_state/micro_operation.h"
#include "harness/crash_state/micro_operation_needs.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

inline constexpr std::uint32_t kNever = UINT32_MAX;

struct Durability {
  std::vector<std::uint32_t> issued;  // by micro-operation: the first moment at which it is
  std::vector<std::uint32_t> forced;  // ... or kNever
  std::vector<std::uint32_t> event_of_moment;  // the event that returns next; last: all of them
  std::vector<std::uint64_t> acknowledged;     // by moment: bytes told by then
  /// By moment: the last end stamp of the barriers of one file that had begun by then, UINT64_MAX
  /// where one never ends, 0 for none. fsync_frees_order: what began before it need not persist in
  /// order.
  std::vector<std::uint64_t> freed_before;

  std::uint32_t moments() const { return static_cast<std::uint32_t>(event_of_moment.size()); }
};

Durability durability_of(const faultinject::Trace& trace, const MicroOperations& micro_operations,
                         const MicroOperationNeeds& needs, const PersistenceModel& model);

}  // namespace crashgate::harness
