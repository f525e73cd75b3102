// Foreign engine, exhaustive: every operation meets everything that another program may have put
// into the root (harness/plan/foreign_object.h), at its key and above it. Undisturbed; and once
// more without openat2, so that a store that has its paths confined by that call must fall back on
// another way.

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "faultinject/syscall_table.h"
#include "harness/engine/engine.h"
#include "harness/judge/describe.h"

namespace crashgate::harness {
namespace {

using faultinject::Row;
using Kind = OperationKind;

// The most telling first, for a budget that ends early.
constexpr ForeignKind kForeignKinds[] = {
    ForeignKind::kFifo,          ForeignKind::kSymlinkToFile,   ForeignKind::kSymlinkToDirectory,
    ForeignKind::kSymlinkToRoot, ForeignKind::kSymlinkToObject, ForeignKind::kSymlinkToNothing,
    ForeignKind::kSocket,        ForeignKind::kDevice,          ForeignKind::kDirectory};

// What looks at the whole root comes first: a mistake there shows beside every other operation, and
// a finding is the first plan that showed it.
constexpr Kind kWholeRoot[] = {Kind::kList, Kind::kRecover};
constexpr Kind kOneKey[] = {Kind::kGet,         Kind::kGetRange, Kind::kPut,
                            Kind::kPutIfAbsent, Kind::kRemove,   Kind::kExists};

const Operation kObject{.kind = Kind::kPut, .key = std::string(kLinkedObject), .size = 600};

Operation operation_of(Kind kind, const std::string& key) {
  Operation operation{.kind = kind};
  if (kind != Kind::kRecover) operation.key = key;
  if (carries_payload(kind)) operation.size = 100;
  if (kind == Kind::kGetRange) operation.length = 10;
  return operation;
}

Plan plan_of(ForeignObject foreign, Kind operation, const std::string& key) {
  const bool leads_to_object =
      foreign.kind == ForeignKind::kSymlinkToObject || key.ends_with(kLinkedObject);
  return {.setup = leads_to_object ? std::vector{kObject} : std::vector<Operation>{},
          .workers = {{operation_of(operation, key)}},
          .foreign = {std::move(foreign)}};
}

bool leads_to_directory(ForeignKind kind) {
  return kind == ForeignKind::kSymlinkToDirectory || kind == ForeignKind::kSymlinkToRoot;
}

// Keys at and below the path `x`. Through a symlink: one that is there, one whose directory is
// there, and one of which nothing is.
std::vector<std::string> keys_at(ForeignKind kind, const std::string& x) {
  if (kind == ForeignKind::kDirectory) return {x};
  const auto below = [&](std::string_view name) { return x + "/" + std::string(name); };
  if (!leads_to_directory(kind)) return {x, below(kOutsideFile)};
  return {x, below(kOutsideFile), below(kOutsideFileBelow), below(kLinkedObject), below("new/k")};
}

std::vector<Plan> plans_with(ForeignKind kind) {
  std::vector<std::string> paths{"x"};
  if (leads_to_directory(kind)) paths.emplace_back("d/x");
  std::vector<Plan> plans;
  for (const auto& path : paths) {
    for (const auto operation : kWholeRoot) plans.push_back(plan_of({kind, path}, operation, ""));
    plans.push_back(plan_of({kind, path}, Kind::kList, path + "/"));
    plans.push_back(plan_of({kind, path}, Kind::kList, ""));
    plans.back().setup = {kObject};
    for (const auto& key : keys_at(kind, path)) {
      for (const auto operation : kOneKey) plans.push_back(plan_of({kind, path}, operation, key));
    }
  }
  return plans;
}

// An object where a key needs a directory.
std::vector<Plan> plans_below_an_object() {
  std::vector<Plan> plans;
  for (const auto operation : kOneKey)
    plans.push_back(
        {.setup = {kObject}, .workers = {{operation_of(operation, kObject.key + "/k")}}});
  return plans;
}

bool calls_openat2(const History& history) {
  return std::ranges::any_of(calls_of(history, 0, 1), [&](std::size_t call) {
    return static_cast<Row>(history.calls[call].row) == Row::k_openat2;
  });
}

void run_plan(Job& job, Plan plan) {
  const History* history = job.run(plan, false);
  if (history == nullptr || job.hangs() || !calls_openat2(*history)) return;
  auto rule = rule_at(1, UINT64_MAX, faultinject::Action::kError, ENOSYS);
  rule.calls.reset();
  rule.calls.set(static_cast<std::size_t>(Row::k_openat2));
  plan.faults.push_back({0, 1, std::move(rule)});
  job.run(plan, false);
}

}  // namespace

Result<EngineResult> run_foreign_engine(const StoreEntry& store, const EngineOptions& options) {
  EngineResult result{.name = "foreign"};
  const auto why_no_device = why_no_devices();
  if (!why_no_device.empty()) result.left_out = "devices, since there is no " + why_no_device;
  std::vector<Plan> plans;
  for (const auto kind : kForeignKinds) {
    if (kind == ForeignKind::kDevice && !why_no_device.empty()) continue;
    std::ranges::move(plans_with(kind), std::back_inserter(plans));
  }
  std::ranges::move(plans_below_an_object(), std::back_inserter(plans));
  auto explored = explore(
      store, plans.size(), [&](Job& job, std::uint64_t unit) { run_plan(job, plans[unit]); },
      options.explore);
  if (!explored) return tl::unexpected(explored.error());
  result.exploration = std::move(*explored);
  result.units = plans.size();
  result.exhaustive = result.exploration.complete;
  result.basis = "every operation at and below every kind of thing that is no object";
  return result;
}

}  // namespace crashgate::harness
