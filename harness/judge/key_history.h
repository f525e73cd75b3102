// What the run says of one key: the operations on it as is_linearizable takes them, and, where no
// order of them explains the answers, what is wrong.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/judge/finding.h"
#include "harness/judge/linearizability.h"
#include "harness/plan/history.h"

namespace crashgate::harness {

/// An operation of the run, in its role for one key.
struct Participant {
  KeyOperation operation;
  std::uint32_t process = 0;  // UINT32_MAX: the setup
  std::uint32_t number = 0;   // of the operation within the process
  bool failed =
      false;  // answered an error that promises no effect: not among the operations to explain
};

/// Every operation that read or could have changed history.keys[key], failed ones included.
std::vector<Participant> participants(const History& history, std::size_t key);

/// Nothing where the answers about history.keys[key] can be explained.
std::optional<Violation> judge_key(const History& history, std::size_t key);

/// Whether something was injected into the operation.
bool was_disturbed(const History& history, std::uint32_t process, std::uint32_t operation);
/// Whether an errno that was injected into the operation claims something about names that was not
/// true (ENOENT, EEXIST and their like): then a "no" of the operation is not held against it.
bool was_lied_to(const History& history, std::uint32_t process, std::uint32_t operation);

}  // namespace crashgate::harness
