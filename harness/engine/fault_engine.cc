// Fault engine, exhaustive for one process. Every storage call of every scenario fails with every
// errno of its row in the syscall table, once and from then on to the end of the operation; every
// call that carries data transfers fewer bytes than asked, once and always. The disturbed operation
// must report an error or have succeeded whole; the same process then uses the store on,
// undisturbed; a survivor looks at the rest. Not from then on: EINTR, since a signal at every call
// for ever is no fault that a program could end on.
//
// Two faults are had from the kernel itself: the descriptor limit, at every number of descriptors
// left from none on, and a full disk, on a small tmpfs.

#include <algorithm>
#include <cerrno>

#include "faultinject/syscall_table.h"
#include "harness/engine/dry_run.h"
#include "harness/engine/engine.h"
#include "harness/engine/scenario.h"
#include "harness/engine/unit_order.h"
#include "harness/judge/describe.h"

namespace crashgate::harness {
namespace {

using faultinject::Action;
using faultinject::Row;
using Kind = OperationKind;

constexpr std::uint16_t kMostDescriptors = 12;  // more than any operation opens
constexpr std::uint16_t kNoRow = UINT16_MAX;    // in a Case: no call is disturbed
constexpr std::uint64_t kShortLengths[] = {1, 15, 511, 512, 4095, 4096};

// What the process does after the disturbed operations, undisturbed: the store must work on.
void add_uses(Plan& plan) {
  auto& operations = plan.workers[0];
  const auto keys = keys_of(plan);
  const std::string key = keys.empty() ? "k" : keys.front();
  operations.push_back({.kind = Kind::kGet, .key = key});
  operations.push_back({.kind = Kind::kPut, .key = key, .size = 50});
  operations.push_back({.kind = Kind::kGet, .key = key});
  operations.push_back({.kind = Kind::kRemove, .key = key});
  operations.push_back({.kind = Kind::kPutIfAbsent, .key = key, .size = 60});
  operations.push_back({.kind = Kind::kList});
}

// One disturbance of one scenario, small since there are tens of thousands.
struct Case {
  std::uint32_t scenario = 0;
  std::uint16_t operation = 0;
  std::uint16_t row = 0;
  std::uint16_t occurrence = 0;        // of the row among the operation's calls, from 1
  std::uint16_t descriptor_limit = 0;  // instead of all the rest
  std::uint64_t argument = 0;
  Action action = Action::kError;
};

// `persistent`: from then on, of this row, to the end of the operation.
Plan plan_of(const std::vector<Plan>& scenarios, const Case& one, bool persistent) {
  Plan plan = scenarios[one.scenario];
  plan.descriptor_limit = one.descriptor_limit;
  if (one.row == kNoRow) return plan;
  auto rule =
      rule_at(one.occurrence, persistent ? UINT64_MAX : one.occurrence, one.action, one.argument);
  rule.calls.reset();
  rule.calls.set(one.row);
  plan.faults.push_back({0, one.operation, std::move(rule)});
  return plan;
}

// Whether the operation made a call of that row again after the disturbed one: else "from then on"
// is the same as once.
bool made_it_again(const History& history, const Case& one) {
  const auto calls = calls_of(history, 0, one.operation);
  return std::ranges::count_if(calls, [&](std::size_t call) {
           return history.calls[call].row == one.row;
         }) > one.occurrence;
}

void run_case(Job& job, const std::vector<Plan>& scenarios, const Case& one) {
  const History* history = job.run(plan_of(scenarios, one, false), false);
  const bool interrupted = one.action == Action::kError && one.argument == EINTR;
  if (history == nullptr || one.row == kNoRow || interrupted || !made_it_again(*history, one))
    return;
  job.run(plan_of(scenarios, one, true), false);
}

void add_faults(Case one, std::uint64_t size, const std::vector<std::uint16_t>& rows,
                std::vector<Case>& cases) {
  const auto add = [&](Action action, std::uint64_t argument) {
    one.action = action;
    one.argument = argument;
    cases.push_back(one);
  };
  for (std::size_t call = 0; call < rows.size(); ++call) {
    one.row = rows[call];
    one.occurrence = static_cast<std::uint16_t>(
        1 + std::count(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(call), one.row));
    const auto& info = faultinject::row_info(static_cast<Row>(one.row));
    for (const int errno_value : info.errnos)
      add(Action::kError, static_cast<std::uint64_t>(errno_value));
    if (!faultinject::carries_data(info)) continue;
    for (const auto length : kShortLengths) {
      if (length < size) add(Action::kShort, length);
    }
    if (size > 1) add(Action::kShort, size - 1);
  }
}

// Scenarios of their own, which nothing but the disk disturbs.
void add_full_disks(std::vector<Plan>& plans) {
  constexpr std::uint64_t kDisk = 1 << 20;
  for (const auto kind : {Kind::kPut, Kind::kPutIfAbsent}) {
    for (const std::uint64_t big : {kDisk / 2, kDisk - 8192, kDisk, 2 * kDisk}) {
      Plan plan;
      plan.disk_size = kDisk;
      plan.setup = {{.kind = Kind::kPut, .key = "k", .size = 600}};
      plan.workers.push_back({{.kind = kind, .key = "big", .size = big},
                              {.kind = kind, .key = "bigger", .size = big},
                              {.kind = Kind::kPut, .key = "k", .size = big},
                              {.kind = Kind::kGet, .key = "k"},
                              {.kind = Kind::kRemove, .key = "big"},
                              {.kind = Kind::kRemove, .key = "bigger"},
                              {.kind = Kind::kRemove, .key = "k"},
                              {.kind = Kind::kPut, .key = "k", .size = 500},
                              {.kind = Kind::kGet, .key = "k"}});
      plans.push_back(std::move(plan));
    }
  }
}

}  // namespace

Result<EngineResult> run_fault_engine(const StoreEntry& store, const EngineOptions& options) {
  EngineResult result{.name = "fault"};
  auto plans = scenarios();
  std::vector<std::uint32_t>
      disturbed;  // operations of each scenario to disturb, the opening included
  for (auto& plan : plans) {
    disturbed.push_back(static_cast<std::uint32_t>(plan.workers[0].size()));
    add_uses(plan);
  }
  auto dry = dry_run(store, plans, options.explore.directory);
  if (!dry) return tl::unexpected(dry.error());
  std::vector<Case> cases;
  for (std::uint32_t scenario = 0; scenario < plans.size(); ++scenario) {
    const auto& operations = plans[scenario].workers[0];
    for (std::uint16_t operation = 0; operation <= disturbed[scenario]; ++operation) {
      std::vector<std::uint16_t> rows;
      const auto& history = dry->histories[scenario];
      for (const auto index : calls_of(history, 0, operation))
        rows.push_back(history.calls[index].row);
      add_faults({.scenario = scenario, .operation = operation},
                 operation == 0 ? 0 : operations[operation - 1].size, rows, cases);
    }
    for (std::uint16_t limit = 1; limit <= kMostDescriptors; ++limit) {
      cases.push_back({.scenario = scenario, .row = kNoRow, .descriptor_limit = limit});
    }
  }
  dry->histories.clear();
  result.basis = "every errno and short transfer at every storage call of " +
                 std::to_string(plans.size()) + " scenarios, the descriptor limit, the full disk";
  if (const auto why = why_no_small_disk(); why.empty()) {
    const auto first = static_cast<std::uint32_t>(plans.size());
    add_full_disks(plans);
    for (auto scenario = first; scenario < plans.size(); ++scenario)
      cases.push_back({.scenario = scenario, .row = kNoRow});
  } else {
    result.left_out = "the full disk, since there is no " + why;
  }
  shuffle_cases(cases, options.seed);

  auto explored = explore(
      store, cases.size(), [&](Job& job, std::uint64_t unit) { run_case(job, plans, cases[unit]); },
      options.explore);
  if (!explored) return tl::unexpected(explored.error());
  result.exploration = std::move(*explored);
  result.exploration.tally.add(dry->tally);
  result.units = cases.size();
  result.exhaustive = result.exploration.complete;
  return result;
}

}  // namespace crashgate::harness
