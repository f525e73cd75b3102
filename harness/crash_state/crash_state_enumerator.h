// Enumerates the crash states of a trace under one model: models.md says which there are.
//
// Order: crash points that come from new code (by row, path shape and call stack) before repeated
// ones; within that: prefixes; all but one micro-operation (with what needs it); one ahead of the
// rest; torn blocks and sizes on the way; then all that are left, depth first, each next to its
// neighbour - or, where there are more than `state_limit` of them, a seeded sample.
//
// States are told apart by tree and acknowledgements: each distinct pair is given once.
// Deterministic: the same trace, model, basis and seed give the same states in the same order.
// Memory: 32 bytes a state at most, beyond the trace. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "faultinject/trace.h"
#include "harness/crash_state/directory_tree.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

struct EnumerationOptions {
  Basis basis;
  std::uint64_t seed = 1;
  std::uint64_t state_limit = UINT64_MAX;  // distinct states to give at most
};

/// One crash state. References are valid until the next call of next().
struct CrashState {
  std::size_t crash_point = 0;  // events [0, crash_point) have ended or were never to return;
                                // the event crash_point, if any, is under way
  std::size_t acknowledgement_end = 0;  // bytes of acknowledgements() that had been told by then
  const DirectoryTree* tree = nullptr;
  std::uint64_t tree_hash = 0;
  std::vector<std::uint32_t> lost;  // micro-operations issued and not persisted, ascending
};

/// One line of a micro-operation, for reports: `entry "dir/name" of renameat (event 12)`.
struct MicroOperationText {
  std::size_t event = 0;
  std::string text;
};

class CrashStateEnumerator {
 public:
  /// `trace` must outlive the enumerator.
  CrashStateEnumerator(const faultinject::Trace& trace, const PersistenceModel& model,
                       const EnumerationOptions& options);
  CrashStateEnumerator(CrashStateEnumerator&&) noexcept;
  ~CrashStateEnumerator();

  /// The next distinct state; null at the end.
  const CrashState* next();

  /// Once next() gave null: whether every distinct state was given.
  bool exhaustive() const;
  std::size_t crash_points() const;
  std::uint64_t states_given() const;

  /// The state at `crash_point` that lacks exactly the `lost` micro-operations (and what needs
  /// them): how a saved case is rebuilt, and how the minimizer asks for a state in which less is
  /// lost. Null where the model does not allow it. Valid until the next call of any member.
  const CrashState* state_without(std::size_t crash_point, const std::vector<std::uint32_t>& lost);

  MicroOperationText describe(std::uint32_t micro_operation) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All acknowledgements of a trace, one after the other, as the world saw them.
std::string acknowledgements(const faultinject::Trace& trace);

/// The tree that the whole trace predicts: all of its calls done and persisted.
DirectoryTree predicted_tree(const faultinject::Trace& trace);

}  // namespace crashgate::harness
