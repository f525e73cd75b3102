// Interleave engine: two processes, an operation each, on one key, and every place where the first
// can be interrupted. Also on two keys of which one is the other's directory, so that an object
// gives way to a directory under the first process.
//
//  - One change of turn: at each storage call of the first process, the second runs from its
//    beginning to its end, and then the first goes on; or dies at that call; or has that call, or
//    the one before it, fail with EIO.
//  - Two changes of turn, for the pairs of operations that change the store: the second process is
//    itself interrupted at each of its storage calls, the first runs to its end, then the second.
//  - On one key, where both write: one change of turn again with both processes having the same
//    process id, each in a process-id namespace of its own.
//  - On one key, where both write or recover: a call of the first fails as unsupported, so that it
//    has to fall back on another technique, and the change of turn, or the death, comes at any
//    later call.
//
// Most ordering bugs need no more changes of turn than these (Musuvathi and Qadeer, iterative
// context bounding, 2007).

#include <algorithm>
#include <cerrno>

#include "faultinject/syscall_table.h"
#include "harness/engine/dry_run.h"
#include "harness/engine/engine.h"
#include "harness/engine/unit_order.h"

namespace crashgate::harness {
namespace {

using faultinject::Action;
using Kind = OperationKind;

constexpr Kind kKinds[] = {Kind::kPut, Kind::kPutIfAbsent, Kind::kRemove, Kind::kRecover,
                           Kind::kGet, Kind::kGetRange,    Kind::kExists, Kind::kList};

constexpr const char* kKey = "d/k";
constexpr const char* kKeyBelow = "d/k/l";

bool changes_store(Kind kind) {
  return carries_payload(kind) || kind == Kind::kRemove || kind == Kind::kRecover;
}

bool both_change_store(const Plan& plan) {
  return changes_store(plan.workers[0][0].kind) && changes_store(plan.workers[1][0].kind);
}

Operation operation_of(Kind kind, const char* key = kKey) {
  Operation operation{.kind = kind};
  if (kind != Kind::kRecover && kind != Kind::kList) operation.key = key;
  if (carries_payload(kind)) operation.size = 4000;
  if (kind == Kind::kGetRange) operation.length = 100;
  return operation;
}

// One pair, and how many storage calls each of the two makes, its opening included.
struct Pair {
  Plan plan;
  std::uint32_t opening = 0;  // storage calls of an opening
  std::uint32_t first = 0;    // storage calls of process 0, by itself
  std::uint32_t second = 0;   // storage calls of process 1, after process 0 or before it, the more
  std::vector<std::uint16_t> rows;  // of the calls of process 0, by itself
};

// How a file system says that it does not have what is asked for.
int unsupported(std::uint16_t row) {
  using faultinject::Row;
  switch (static_cast<Row>(row)) {
    case Row::k_renameat2:
      return EINVAL;
    case Row::k_link:
    case Row::k_linkat:
      return EPERM;
    default:
      return EOPNOTSUPP;
  }
}

enum class Variant : std::uint8_t {
  kGoesOn,      // the first process goes on after the second has run
  kDies,        // ... dies at the call where it was interrupted
  kFails,       // ... has that call fail
  kFailed,      // ... had the call before it fail
  kTwoChanges,  // the second is interrupted in turn, at its call number `other`
  kSameIds,     // as kGoesOn, with equal process ids
  kReusedId,    // the first dies there; the second runs afterwards, with its process id
  kFallsBack,   // the first had its call number `other` fail as unsupported, and goes on
  kFallsBackAndDies,
};

struct Case {
  std::uint16_t pair = 0;
  Variant variant = Variant::kGoesOn;
  std::uint32_t call = 0;  // of process 0, its opening's calls included, from 1
  std::uint32_t other =
      0;  // kTwoChanges: of process 1, likewise; kFallsBack: an earlier one of process 0
};

std::vector<Plan> pair_plans() {
  std::vector<Plan> plans;
  for (const bool present : {false, true}) {
    for (const auto first : kKinds) {
      for (const auto second : kKinds) {
        if (!changes_store(first) && !changes_store(second)) continue;
        Plan plan;
        if (present)
          plan.setup = {{.kind = Kind::kPut, .key = "d/k", .size = 300},
                        {.kind = Kind::kPut, .key = "d/other", .size = 30}};
        plan.workers = {{operation_of(first)}, {operation_of(second)}};
        plans.push_back(std::move(plan));
      }
    }
  }
  // The key gives way to one below it, and an absent one is taken from the one below it.
  for (const auto first : kKinds) {
    for (const auto* key : {kKey, kKeyBelow}) {
      if (first == Kind::kRecover || (first == Kind::kList && key != kKey)) continue;
      Plan plan;
      plan.setup = {operation_of(Kind::kPut)};
      plan.workers = {{operation_of(first, key)},
                      {operation_of(Kind::kRemove), operation_of(Kind::kPut, kKeyBelow)}};
      plans.push_back(plan);
      plan.setup.clear();
      plan.workers[1] = {operation_of(Kind::kPut), operation_of(Kind::kRemove)};
      plans.push_back(std::move(plan));
    }
  }
  return plans;
}

// Disturbs process 0 at its call number `call`.
Fault fault_at(const Pair& pair, std::uint32_t call, Action action, int errno_value = 0) {
  const bool opening = call <= pair.opening;
  const auto ordinal = opening ? call : call - pair.opening;
  return {0, opening ? 0u : 1u,
          rule_at(ordinal, ordinal, action, static_cast<std::uint64_t>(errno_value))};
}

Plan plan_of(const Pair& pair, const Case& one) {
  Plan plan = pair.plan;
  if (one.variant != Variant::kReusedId) plan.preemptions = {{one.call, 1}};
  plan.same_process_ids = one.variant == Variant::kSameIds || one.variant == Variant::kReusedId;
  switch (one.variant) {
    case Variant::kGoesOn:
    case Variant::kSameIds:
      break;
    case Variant::kDies:
    case Variant::kReusedId:
      plan.faults = {fault_at(pair, one.call, Action::kKillBefore)};
      break;
    case Variant::kFails:
      plan.faults = {fault_at(pair, one.call, Action::kError, EIO)};
      break;
    case Variant::kFailed:
      plan.faults = {fault_at(pair, one.call - 1, Action::kError, EIO)};
      break;
    case Variant::kFallsBack:
    case Variant::kFallsBackAndDies:
      plan.faults = {
          fault_at(pair, one.other, Action::kError, unsupported(pair.rows[one.other - 1]))};
      if (one.variant == Variant::kFallsBackAndDies)
        plan.faults.push_back(fault_at(pair, one.call, Action::kKillBefore));
      break;
    // Steps count over both processes, and process 1 begins with step `call`.
    case Variant::kTwoChanges:
      plan.preemptions.push_back({one.call + one.other - 1, 0});
      break;
  }
  return plan;
}

std::uint32_t calls_of(const ProcessHistory& process) {
  std::uint32_t calls = 0;
  for (const auto& event : process.events) calls += event.calls;
  return calls;
}

void add_cases(std::uint16_t index, const Pair& pair, bool namespaces, std::vector<Case>& cases) {
  const auto first = pair.plan.workers[0][0].kind;
  const auto second = pair.plan.workers[1][0].kind;
  const bool both_change = both_change_store(pair.plan);
  for (std::uint32_t call = 2; call <= pair.first; ++call) {
    for (const auto variant : {Variant::kGoesOn, Variant::kDies, Variant::kFails, Variant::kFailed})
      cases.push_back({index, variant, call});
  }
  for (std::uint32_t call = pair.opening + 1; call <= pair.first; ++call) {
    for (std::uint32_t other = pair.opening + 1; both_change && other <= pair.second; ++other) {
      cases.push_back({index, Variant::kTwoChanges, call, other});
    }
    if (!carries_payload(first) || pair.plan.workers[1].size() > 1) continue;
    if (namespaces && carries_payload(second)) {
      for (const auto variant : {Variant::kSameIds, Variant::kReusedId})
        cases.push_back({index, variant, call});
    }
    constexpr std::uint32_t kDetour = 6;  // calls that falling back may add
    for (auto later = call + 1;
         both_change && second != Kind::kRemove && later <= pair.first + kDetour; ++later) {
      for (const auto variant : {Variant::kFallsBack, Variant::kFallsBackAndDies})
        cases.push_back({index, variant, later, call});
    }
  }
}

}  // namespace

Result<EngineResult> run_interleave_engine(const StoreEntry& store, const EngineOptions& options) {
  EngineResult result{.name = "interleave"};
  const auto plans = pair_plans();
  auto dry_plans = plans;
  for (auto plan : plans) {
    if (!both_change_store(plan)) continue;
    plan.preemptions = {{1, 1}};  // process 1 first
    dry_plans.push_back(std::move(plan));
  }
  auto dry = dry_run(store, dry_plans, options.explore.directory);
  if (!dry) return tl::unexpected(dry.error());
  const auto why_no_namespaces = why_no_pid_namespaces();
  if (!why_no_namespaces.empty())
    result.left_out = "equal process ids, since there is no " + why_no_namespaces;

  std::vector<Pair> pairs;
  std::vector<Case> cases;
  auto reversed = dry->histories.begin() + static_cast<std::ptrdiff_t>(plans.size());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const auto& processes = dry->histories[i].processes;
    pairs.push_back(
        {plans[i], processes[0].events[0].calls, calls_of(processes[0]), calls_of(processes[1])});
    for (const auto& call : dry->histories[i].calls) {
      if (call.process == 0) pairs.back().rows.push_back(call.row);
    }
    if (both_change_store(plans[i]))
      pairs.back().second = std::max(pairs.back().second, calls_of((reversed++)->processes[1]));
    add_cases(static_cast<std::uint16_t>(i), pairs.back(), why_no_namespaces.empty(), cases);
  }
  dry->histories.clear();
  shuffle_cases(cases, options.seed);
  // The fewest disturbances first: they show most mistakes, and the rest takes many times as long.
  std::ranges::stable_partition(cases,
                                [](const Case& one) { return one.variant == Variant::kGoesOn; });
  const auto run_case = [&](Job& job, std::uint64_t unit) {
    job.run(plan_of(pairs[cases[unit].pair], cases[unit]), false);
  };
  auto explored = explore(store, cases.size(), run_case, options.explore);
  if (!explored) return tl::unexpected(explored.error());
  result.exploration = std::move(*explored);
  result.exploration.tally.add(dry->tally);
  result.units = cases.size();
  result.exhaustive = result.exploration.complete;
  result.basis = "every change of turn of " + std::to_string(plans.size()) +
                 " pairs of operations, two for pairs that change the store";
  return result;
}

}  // namespace crashgate::harness
