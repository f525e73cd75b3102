// A plan: one run of a store, completely determined. Who does what, where each process is disturbed
// or killed, and at which storage calls the turn passes from one process to another. All engines
// make plans; one runner executes them, one oracle judges them, one minimizer makes them smaller,
// and a saved case is a plan.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "faultinject/rule.h"
#include "harness/plan/foreign_object.h"
#include "store/error.h"

namespace crashgate::harness {

enum class OperationKind : std::uint8_t {
  kOpen,
  kPut,
  kPutIfAbsent,
  kGet,
  kGetRange,
  kRemove,
  kExists,
  kList,
  kRecover
};
std::string_view to_string(OperationKind kind);
inline bool carries_payload(OperationKind kind) {
  return kind == OperationKind::kPut || kind == OperationKind::kPutIfAbsent;
}

struct Operation {
  OperationKind kind = OperationKind::kPut;
  std::string key;           // list: the prefix; open and recover: empty
  std::uint64_t size = 0;    // bytes of payload: put, put_if_absent
  std::uint64_t offset = 0;  // get_range
  std::uint64_t length = 0;  // get_range
  bool operator==(const Operation&) const = default;
};

/// A rule that is in force during one operation of one process; its `when` counts that operation's
/// storage calls.
struct Fault {
  std::uint32_t process = 0;
  std::uint32_t operation = 0;  // 0 is the opening of the store, i is operations[i - 1]
  faultinject::Rule rule;
};

/// When the storage call number `step` (from 1, over all workers) is about to begin, `process` runs
/// instead.
struct Preemption {
  std::uint32_t step = 0;
  std::uint32_t process = 0;
  bool operator==(const Preemption&) const = default;
};

struct Plan {
  std::vector<Operation> setup;  // done first, undisturbed, by process 0
  std::vector<std::vector<Operation>>
      workers;                          // processes 0, 1, ... each opens the store, then does these
  std::vector<Fault> faults;            // of workers, and of survivors (numbered after the workers)
  std::vector<Preemption> preemptions;  // ascending in step
  bool same_process_ids = false;  // every process is number 2 of a process-id namespace of its own
  std::uint32_t descriptor_limit =
      0;  // descriptors that a worker may open beyond those it has; 0: no limit
  std::uint64_t disk_size =
      0;  // bytes of a tmpfs to run on (needs CAP_SYS_ADMIN); 0: the scratch directory
  std::vector<ForeignObject> foreign;  // there before the setup
};

/// Processes, the survivors included, that a plan can have, and operations in one process.
inline constexpr std::uint32_t kMaxWorkers = 8;
inline constexpr std::size_t kMaxOperations = 63;
/// Payloads of a plan, the survivor's included: they are bits of one word in an Observation.
inline constexpr std::size_t kMaxPayloads = 64;
/// Operations on one key, lists and the survivors' included: they are bits of one word in
/// is_linearizable.
inline constexpr std::size_t kMaxOperationsOnKey = 64;

/// Keys that the plan's operations name, sorted, each once. Prefixes of list are not keys.
std::vector<std::string> keys_of(const Plan& plan);
/// Whether one key of the plan is a directory of another ("a" and "a/b"): then Conflict is an
/// answer.
bool has_conflicting_keys(const Plan& plan);
/// What a survivor does after opening the store: recover; look at every key; and show that the
/// store works on. A key with something foreign in its way is left to the workers.
std::vector<Operation> survivor_operations(const Plan& plan);
/// How many survivors a plan has: one that ends by itself, after those that the plan kills.
std::uint32_t survivor_count(const Plan& plan);
/// The operations of `process` in the numbering of Fault: workers, then survivors, all alike.
const std::vector<Operation>& operations_of(const Plan& plan,
                                            const std::vector<Operation>& survivor,
                                            std::uint32_t process);

inline bool is_kill(faultinject::Action action) {
  return action == faultinject::Action::kKillBefore || action == faultinject::Action::kKillMid ||
         action == faultinject::Action::kKillAfter;
}

/// A rule that acts on the calls number `first`..`last` of an operation, whatever they are.
faultinject::Rule rule_at(std::uint64_t first, std::uint64_t last, faultinject::Action action,
                          std::uint64_t argument = 0);

nlohmann::json to_json(const Plan& plan);
/// InvalidArgument, with the member's name as path, where `json` is not a plan or beyond the limits
/// above.
Result<Plan> plan_from_json(const nlohmann::json& json);

}  // namespace crashgate::harness
