// Enumerates the crash states of a trace under one model: models.md says which there are.
//
// Order: of each crash point the state that lacks all it can; prefixes; all but one
// micro-operation (with what needs it); one ahead of the rest; torn blocks and sizes on the way;
// then all that are left, depth first, each next to its neighbour, at the crash points that have
// few (65,536, or their part of `state_limit`); of the others a seeded sample, until most of it has
// been given before; then all that are left of these, too. Within each of these, crash points that
// new code leads to (by row, kind of location and call stack) come before repeated ones.
//
// States are told apart by tree and acknowledgements: each distinct pair is given once.
// Deterministic: the same trace, model and options give the same states in the same order. Memory:
// 32 bytes a state at most, beyond some 200 a micro-operation. Not thread-safe.
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
  /// The event that returns next: the crash comes before it does, after all other returns that have
  /// an earlier stamp. The number of events: after all returns. The earliest, with these
  /// acknowledgements, at which these micro-operations may have persisted.
  std::size_t crash_point = 0;
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

struct MicroOperations;

/// What the enumerators of one trace and basis have in common, whatever their models: worth sharing
/// where the trace is long. Points into the trace.
using LoweredTrace = std::shared_ptr<const MicroOperations>;
LoweredTrace lower_to_share(const faultinject::Trace& trace, const Basis& basis);

class CrashStateEnumerator {
 public:
  /// `trace` must outlive the enumerator.
  CrashStateEnumerator(const faultinject::Trace& trace, const PersistenceModel& model,
                       const EnumerationOptions& options);
  /// `lowered`: the same trace, but for what its barriers force, to the same basis.
  CrashStateEnumerator(const faultinject::Trace& trace, LoweredTrace lowered,
                       const PersistenceModel& model, const EnumerationOptions& options);
  CrashStateEnumerator(CrashStateEnumerator&&) noexcept;
  ~CrashStateEnumerator();

  /// The next distinct state; null at the end.
  const CrashState* next();

  /// Once next() gave null: whether every distinct state was given. Not where the limit was
  /// reached, nor where 262,144 in a row had been given before and others were left to try.
  bool exhaustive() const;
  /// Moments that were looked at; what may be found at any other may be found at one of these.
  std::size_t crash_points() const;
  std::uint64_t states_given() const;

  /// The state at `crash_point` that lacks exactly the `lost` micro-operations (ascending; and what
  /// needs them): how a saved case is rebuilt, and how the minimizer asks for a state in which less
  /// is lost. Null where the model does not allow it. `lost` of the answer has what needs them,
  /// too. Valid until the next call of state_without(); does not disturb next().
  const CrashState* state_without(std::size_t crash_point, const std::vector<std::uint32_t>& lost);

  MicroOperationText describe(std::uint32_t micro_operation) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All acknowledgements of a trace, one after the other, in the order in which their calls
/// returned.
std::string acknowledgements(const faultinject::Trace& trace);

/// The tree that the whole trace predicts: all of its calls done and persisted.
DirectoryTree predicted_tree(const faultinject::Trace& trace);

}  // namespace crashgate::harness
