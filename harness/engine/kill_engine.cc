// Kill engine, exhaustive for one process. An undisturbed run of each scenario says which storage
// calls it makes. For every one of them a fresh run is killed before it, after it and, where it
// carries data, in its middle. A survivor opens the store, recovers, and looks. From every distinct
// state that a kill left (tree and acknowledgements; the names of temporaries aside) it is done
// again for every storage call of the survivor's opening and recovery, with the survivor killed
// there and a second one judged: recovery that dies is recovered, one level deep. The scenarios
// that differ in payload size only are killed at every call, but their recovery is that of the
// others.

#include "faultinject/syscall_table.h"
#include "harness/engine/dry_run.h"
#include "harness/engine/engine.h"
#include "harness/engine/scenario.h"
#include "harness/engine/unit_order.h"
#include "harness/judge/describe.h"

namespace crashgate::harness {
namespace {

using faultinject::Action;

// One kill in one scenario.
struct Case {
  std::uint32_t scenario = 0;
  std::uint32_t operation = 0;
  std::uint32_t call = 0;
  Action action = Action::kKillBefore;
};

// The ways to die at one call.
std::vector<Action> kills_at(std::uint16_t row) {
  if (faultinject::carries_data(faultinject::row_info(static_cast<faultinject::Row>(row)))) {
    return {Action::kKillBefore, Action::kKillMid, Action::kKillAfter};
  }
  return {Action::kKillBefore, Action::kKillAfter};
}

template <typename Visit>
void for_each_kill(const std::vector<std::uint16_t>& rows, Visit visit) {
  for (std::uint32_t call = 1; call <= rows.size(); ++call) {
    for (const auto action : kills_at(rows[call - 1])) visit(call, action);
  }
}

std::vector<std::uint16_t> rows_of(const History& history, std::uint32_t process,
                                   std::uint32_t operation) {
  std::vector<std::uint16_t> rows;
  for (const auto index : calls_of(history, process, operation))
    rows.push_back(history.calls[index].row);
  return rows;
}

void kill_there(Job& job, Plan plan, const Case& one, bool and_recovery) {
  plan.faults.push_back({0, one.operation, rule_at(one.call, one.call, one.action)});
  const History* history = job.run(plan, true);
  if (history == nullptr || job.rejected() || !and_recovery || !job.is_new_state()) return;
  constexpr std::uint32_t kSurvivor = 1;
  std::vector<Fault> recovery_kills;
  for (const std::uint32_t operation : {0, 1}) {  // opening, recover
    for_each_kill(rows_of(*history, kSurvivor, operation), [&](std::uint32_t call, Action action) {
      recovery_kills.push_back({kSurvivor, operation, rule_at(call, call, action)});
    });
  }
  for (auto& kill : recovery_kills) {
    plan.faults.resize(1);
    plan.faults.push_back(std::move(kill));
    if (job.run(plan, true) == nullptr) return;
  }
}

}  // namespace

Result<EngineResult> run_kill_engine(const StoreEntry& store, const EngineOptions& options) {
  EngineResult result{.name = "kill"};
  auto plans = scenarios();
  const auto recovered = plans.size();
  const auto more = scenarios_by_size();
  plans.insert(plans.end(), more.begin(), more.end());
  auto dry = dry_run(store, plans, options.explore.directory);
  if (!dry) return tl::unexpected(dry.error());
  std::vector<Case> cases;
  for (std::uint32_t scenario = 0; scenario < plans.size(); ++scenario) {
    for (std::uint32_t operation = 0; operation <= plans[scenario].workers[0].size(); ++operation) {
      for_each_kill(rows_of(dry->histories[scenario], 0, operation),
                    [&](std::uint32_t call, Action action) {
                      cases.push_back({scenario, operation, call, action});
                    });
    }
  }
  dry->histories.clear();
  shuffle_cases(cases, options.seed);
  const auto kill_case = [&](Job& job, std::uint64_t unit) {
    const auto& one = cases[unit];
    kill_there(job, plans[one.scenario], one, one.scenario < recovered);
  };
  auto explored = explore(store, cases.size(), kill_case, options.explore);
  if (!explored) return tl::unexpected(explored.error());
  result.exploration = std::move(*explored);
  result.exploration.tally.add(dry->tally);
  result.units = cases.size();
  result.exhaustive = result.exploration.complete;
  result.basis = "every storage call of " + std::to_string(plans.size()) +
                 " scenarios, and of recovery from every distinct state";
  return result;
}

}  // namespace crashgate::harness
