// Power engine: records each scenario once, undisturbed, and judges every crash state that a
// persistence model allows at any moment of it: a survivor opens the store over the state,
// recovers, and looks. One writer does every operation; two writers meet on one key, the second
// running to its end at each storage call of the first.
//
// A store draws names of temporaries at random, so the recordings of two runs differ; what is found
// is saved with its recording.

#include <algorithm>
#include <set>

#include "faultinject/syscall_table.h"
#include "harness/engine/engine.h"
#include "harness/engine/scenario.h"
#include "harness/engine/store_crash.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;

// Distinct states of one recording under one model; beyond it they are sampled, and the run says
// so.
constexpr std::uint64_t kMostStatesOfOneScenario = 200'000;

bool changes_store(const Plan& plan) {
  return std::ranges::any_of(plan.workers.front(), [](const Operation& operation) {
    return carries_payload(operation.kind) || operation.kind == Kind::kRemove ||
           operation.kind == Kind::kRecover;
  });
}

// Sizes of one sector, of a torn block, and of more blocks than one write is cut into.
std::vector<Plan> one_writer() {
  auto plans = scenarios();
  std::erase_if(plans, [](const Plan& plan) { return !changes_store(plan); });
  for (const auto size : {0, 300, 4096, 100000}) {
    for (const auto kind : {Kind::kPut, Kind::kPutIfAbsent}) {
      plans.push_back(
          {.setup = {{.kind = Kind::kPut, .key = "k", .size = 600}},
           .workers = {{{.kind = kind, .key = "d/k", .size = static_cast<std::uint64_t>(size)}}}});
    }
  }
  return plans;
}

std::vector<Plan> two_writers() {
  std::vector<Plan> plans;
  for (const bool present : {false, true}) {
    for (const auto first : {Kind::kPut, Kind::kPutIfAbsent, Kind::kRemove}) {
      for (const auto second : {Kind::kPut, Kind::kPutIfAbsent, Kind::kRemove}) {
        Plan plan;
        if (present) plan.setup = {{.kind = Kind::kPut, .key = "d/k", .size = 300}};
        for (const auto kind : {first, second}) {
          const std::uint64_t size = carries_payload(kind) ? 700 : 0;
          plan.workers.push_back({{.kind = kind, .key = "d/k", .size = size}});
        }
        plans.push_back(std::move(plan));
      }
    }
  }
  // Two empty objects are alike: who finds one may not take it for its own, and durable.
  for (const auto kind : {Kind::kPut, Kind::kPutIfAbsent}) {
    const Operation empty{.kind = kind, .key = "d/k"};
    plans.push_back({.workers = {{empty}, {empty}}});
  }
  return plans;
}

bool changes_or_forces(std::uint16_t row) {
  using faultinject::Kind;
  const auto kind = faultinject::row_info(static_cast<faultinject::Row>(row)).kind;
  return kind == Kind::kWrite || kind == Kind::kResize || kind == Kind::kBarrier ||
         kind == Kind::kName || kind == Kind::kCopy || kind == Kind::kOpen;
}

// `plan` as the second process runs at each call of the first that changes something or forces it.
std::vector<Plan> interrupted(const Plan& plan, const History& undisturbed) {
  std::vector<Plan> plans;
  const auto& events = undisturbed.processes.front().events;
  std::uint32_t step = 0;
  for (std::size_t i = 0; i < undisturbed.calls.size(); ++i) {
    const auto& call = undisturbed.calls[i];
    if (call.process != 0) continue;
    ++step;
    if (i < events[1].first_record || !changes_or_forces(call.row)) continue;
    plans.push_back(plan);
    plans.back().preemptions = {{step, 1}};
  }
  return plans;
}

}  // namespace

Result<EngineResult> run_power_engine(const StoreEntry& store, const EngineOptions& options) {
  EngineResult result{.name = "power"};
  auto recordings = std::make_shared<std::vector<StoreRecording>>();
  const auto enough = [&] {
    return interrupting_signal() != 0 || Clock::now() > options.explore.deadline ||
           recordings->size() >= options.explore.run_limit;
  };
  // A store that fails undisturbed is for the other engines to report: then there is no recording.
  const auto record = [&](const Plan& plan) -> Result<const History*> {
    auto recording = record_plan(store, plan, options.explore.directory);
    if (!recording) return tl::unexpected(recording.error());
    const auto& processes = recording->history.processes;
    if (std::ranges::any_of(processes, &ProcessHistory::setup_failed)) return nullptr;
    recordings->push_back(std::move(*recording));
    return &recordings->back().history;
  };
  for (const auto& plan : one_writer()) {
    if (enough()) break;
    if (auto recorded = record(plan); !recorded) return tl::unexpected(recorded.error());
  }
  const auto of_one_writer = recordings->size();
  for (const auto& pair : two_writers()) {
    if (enough()) break;
    const auto undisturbed = record(pair);
    if (!undisturbed) return tl::unexpected(undisturbed.error());
    if (*undisturbed == nullptr) continue;
    for (const auto& plan : interrupted(pair, **undisturbed)) {
      if (enough()) break;
      if (auto recorded = record(plan); !recorded) return tl::unexpected(recorded.error());
    }
  }

  const bool cut_short = enough();
  const auto directory = options.explore.directory + "/power-";
  std::vector<CrashSubject> subjects;
  for (std::size_t i = 0; i < recordings->size(); ++i) {
    subjects.push_back({&(*recordings)[i].trace, [=, &store](unsigned job) {
                          return make_store_judge(
                              store, (*recordings)[i],
                              directory + std::to_string(job) + "-" + std::to_string(i));
                        }});
  }
  CrashExplorationOptions exploring;
  exploring.models = options.models;
  exploring.basis = options.basis;
  exploring.seed = options.seed;
  exploring.jobs = std::max(1u, options.explore.jobs);
  exploring.deadline = options.explore.deadline;
  exploring.state_limit = kMostStatesOfOneScenario;
  exploring.judgement_limit = options.explore.run_limit;
  exploring.progress = [&](std::uint64_t states, std::uint64_t done) {
    if (options.explore.progress) options.explore.progress(states, done, recordings->size());
  };
  auto explored = explore_crash_states(subjects, exploring);
  if (!explored) return tl::unexpected(explored.error());
  for (auto& [model, of_model] : explored->models)
    of_model.exhaustive = of_model.exhaustive && !cut_short;

  result.crash = std::make_shared<StoreCrashResult>(
      StoreCrashResult{std::move(recordings), std::move(*explored)});
  const auto& exploration = result.crash->exploration;
  result.exploration.interrupted = exploration.interrupted;
  result.units = subjects.size();
  result.exploration.units_done = subjects.size();
  result.exploration.tally.runs = exploration.states;
  result.exhaustive = !cut_short && std::ranges::all_of(exploration.models, [](const auto& one) {
    return one.second.exhaustive;
  });
  result.basis = "every crash state of " + std::to_string(of_one_writer) +
                 " runs of one writer and " + std::to_string(subjects.size() - of_one_writer) +
                 " of two, " + to_string(options.basis);
  return result;
}

}  // namespace crashgate::harness
