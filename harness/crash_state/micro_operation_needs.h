// Which micro-operations cannot persist without which, under one model (models.md, "Groups" and
// "Rules that a model may have"). Only direct needs: what follows by transitivity is left out, so
// that all lists together are about as long as the trace.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/crash_state/micro_operation.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

struct MicroOperationNeeds {
  /// The first micro-operation of the group that each belongs to. A group lies within one event.
  std::vector<std::uint32_t> group;
  /// Each needs to[begin[i]] .. to[begin[i + 1]].
  std::vector<std::uint32_t> begin;
  std::vector<std::uint32_t> to;

  std::span<const std::uint32_t> of(std::uint32_t index) const {
    return std::span(to).subspan(begin[index], begin[index + 1] - begin[index]);
  }
};

/// All needs but those of metadata_in_order where fsync_frees_order: these change as time goes by.
MicroOperationNeeds needs_of(const faultinject::Trace& trace,
                             const MicroOperations& micro_operations,
                             const PersistenceModel& model);

}  // namespace crashgate::harness
