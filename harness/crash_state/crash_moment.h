// One moment of a trace (durability.h) at a time: what may and may not have persisted there, as a
// poset, and the tree that any ideal of it makes. Going on costs what is issued or forced on the
// way, going back starts from the beginning.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/crash_state/crash_tree.h"
#include "harness/crash_state/durability.h"
#include "harness/crash_state/micro_operation.h"
#include "harness/crash_state/micro_operation_needs.h"
#include "harness/crash_state/micro_operation_poset.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

class CrashMoment {
 public:
  /// All of these must outlive it.
  CrashMoment(const faultinject::Trace& trace, const MicroOperations& micro_operations,
              const MicroOperationNeeds& needs, const Durability& durability,
              const PersistenceModel& model);

  /// Shows the empty ideal there: nothing has persisted but what was forced.
  void move_to(std::uint32_t moment);
  std::uint32_t moment() const { return moment_; }

  const MicroOperationPoset& poset() const { return poset_; }
  /// Numbers `lower` before the rest; shows the empty ideal.
  void renumber(const ElementSet& lower);

  /// Makes the tree that of an ideal.
  void show(const ElementSet& ideal);
  CrashTree& tree() { return tree_; }

 private:
  void rewind();
  void build_poset();

  const faultinject::Trace& trace_;
  const MicroOperations& all_;
  const MicroOperationNeeds& needs_;
  const Durability& durability_;
  const PersistenceModel& model_;
  CrashTree tree_;
  std::uint32_t moment_ = kNever;
  std::vector<std::uint32_t> by_issue_;  // micro-operations in the order in which they are issued
  std::vector<std::uint32_t> by_force_;  // ... forced; those that are
  std::size_t next_issue_ = 0;
  std::size_t next_force_ = 0;
  std::vector<std::uint32_t> open_;  // issued and not forced, ascending
  MicroOperationPoset poset_;
  ElementSet shown_;
  std::vector<std::uint32_t> element_of_;  // by micro-operation, of those that are open
  std::vector<std::uint32_t> last_of_group_;
};

}  // namespace crashgate::harness
