// Every job enumerates the first crash's states and so comes to the same draw: the states with the
// smallest hashes, mixed with the seed. Each records its share of them.
#include "harness/check/second_crash.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <unordered_set>

#include "harness/crash_state/tree_hash.h"
#include "harness/engine/job_processes.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::Trace;
using nlohmann::json;

constexpr std::size_t kMostLostLines = 12;  // of the first crash, in a report

// Errors leave a job process as exceptions.
template <typename T>
T expect(Result<T> result) {
  if (!result) throw std::runtime_error(to_string(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

json to_json(const CutRecovery& recovery) {
  return {{"models", recovery.models},
          {"model", recovery.model},
          {"crash_point", recovery.crash_point},
          {"told", recovery.acknowledgement_end},
          {"lost", recovery.lost}};
}

CutRecovery recovery_from_json(const json& from) {
  return {from.at("models").get<std::set<std::string>>(),
          from.at("model"),
          from.at("crash_point"),
          from.at("told"),
          from.at("lost").get<std::vector<std::uint32_t>>(),
          {}};
}

struct Draw {
  std::map<std::uint64_t, CutRecovery> chosen;
  std::uint64_t states = 0;
  bool all = true;
};

Draw draw_states(const Trace& trace, const SecondCrashOptions& options) {
  Draw draw;
  std::unordered_set<std::uint64_t> seen;
  for (const auto* model : options.exploration.models) {
    CrashStateEnumerator states(
        trace, *model,
        {options.exploration.basis, options.exploration.seed, options.first_state_limit});
    while (const CrashState* state = states.next()) {
      const auto key = tree_hash::mix(tree_hash::mix(state->tree_hash, state->acknowledgement_end),
                                      options.exploration.seed);
      if (seen.insert(key).second) {
        draw.chosen[key] = {{},
                            std::string(model->name),
                            state->crash_point,
                            state->acknowledgement_end,
                            state->lost,
                            {}};
      }
      if (const auto known = draw.chosen.find(key); known != draw.chosen.end())
        known->second.models.emplace(model->name);
      if (draw.chosen.size() > options.recovery_limit) draw.chosen.erase(--draw.chosen.end());
    }
    draw.all = draw.all && states.exhaustive();
  }
  draw.states = seen.size();
  draw.all = draw.all && draw.chosen.size() == seen.size();
  return draw;
}

// One job.
json record_share(const Trace& trace, const SecondCrashOptions& options, unsigned job) {
  // The user has seen what a recovery has to say; the first crashes' findings keep it.
  if (const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC)); null)
    ::dup2(null.get(), STDERR_FILENO);
  const Draw draw = draw_states(trace, options);
  const auto name = fmt::format("recovery-{}", job);
  const auto recorder =
      expect(make_recovery_recorder(trace, options.checker, options.recovery, name));
  std::map<std::string, CrashStateEnumerator> states;
  json recoveries = json::array();
  std::set<std::string> doubts;
  std::uint64_t recorded = 0;
  unsigned turn = 0;
  bool all = draw.all;
  for (const auto& [key, recovery] : draw.chosen) {
    if (turn++ % options.exploration.jobs != job) continue;
    if (Clock::now() > options.recording_deadline) {
      all = false;
      break;
    }
    auto enumerator = states.find(recovery.model);
    if (enumerator == states.end()) {
      enumerator = states
                       .try_emplace(recovery.model, trace, *find_model(recovery.model),
                                    EnumerationOptions{.basis = options.exploration.basis})
                       .first;
    }
    const auto* state = enumerator->second.state_without(recovery.crash_point, recovery.lost);
    if (state == nullptr) throw std::logic_error("a crash state cannot be built again");
    auto made = expect(recorder(*state));
    ++recorded;
    auto& events = made.recording.trace.events;
    std::erase_if(events,
                  [](const auto& event) { return event.kind == EventKind::kAcknowledgement; });
    if (!made.accepted || events.empty()) continue;
    auto cut = recovery;
    for (const auto& doubt : doubts_about(made.recording.trace)) {
      doubts.insert(doubt);
      cut.models.erase("kill");  // what no recorded call made survives a kill, too
    }
    if (cut.models.empty()) continue;
    const auto path = fmt::format("{}/{}-{}", options.checker.scratch, name, recoveries.size());
    if (auto written = faultinject::write_trace(made.recording.trace, path); !written)
      throw std::runtime_error(written.error().message);
    recoveries.push_back(to_json(cut));
    recoveries.back()["path"] = path;
  }
  return {{"states", draw.states},
          {"all", all},
          {"recorded", recorded},
          {"doubts", doubts},
          {"recoveries", recoveries}};
}

Result<void> record_recoveries(const Trace& trace, const SecondCrashOptions& options,
                               SecondCrashes& all) {
  const auto body = [&](unsigned job) { return record_share(trace, options, job); };
  const auto started = Clock::now();
  const auto watch = [&] {
    if (options.progress)
      options.progress(
          "recoveries",
          static_cast<std::uint64_t>(std::chrono::duration<double>(Clock::now() - started).count()),
          "seconds");
    return interrupting_signal() == 0;
  };
  auto reports = run_jobs(options.exploration.jobs, body, watch);
  if (!reports) return tl::unexpected(reports.error());
  all.interrupted = !*reports;
  if (all.interrupted) return {};
  for (const auto& report : **reports) {
    all.first_states = report.at("states");
    all.recorded += report.at("recorded").get<std::uint64_t>();
    all.all_recorded = all.all_recorded && report.at("all").get<bool>();
    all.doubts.merge(report.at("doubts").get<std::set<std::string>>());
    for (const auto& one : report.at("recoveries")) {
      all.recoveries.push_back(recovery_from_json(one));
      auto read = faultinject::read_trace(one.at("path"));
      if (!read) return tl::unexpected(Error{ErrorCode::kIo, 0, read.error().message, ""});
      all.recoveries.back().trace = std::move(*read);
    }
  }
  // Whichever job recorded them.
  std::ranges::sort(all.recoveries, {}, [](const CutRecovery& one) {
    return std::tuple<std::size_t, std::size_t, std::size_t, const std::vector<std::uint32_t>&,
                      const std::string&>(one.lost.size(), one.crash_point, one.acknowledgement_end,
                                          one.lost, one.model);
  });
  return {};
}

std::vector<CrashSubject> subjects_of(const Trace& trace, const SecondCrashOptions& options,
                                      const SecondCrashes& all) {
  std::vector<CrashSubject> subjects;
  const auto told = acknowledgements(trace);
  for (std::size_t i = 0; i < all.recoveries.size(); ++i) {
    const auto& recovery = all.recoveries[i];
    auto checker = options.checker;
    checker.told = told.substr(0, recovery.acknowledgement_end);
    subjects.push_back({&recovery.trace,
                        [&recovery, checker, i](unsigned job) {
                          return make_state_checker(recovery.trace, checker,
                                                    fmt::format("second-{}-{}", i, job));
                        },
                        recovery.models});
  }
  return subjects;
}

// Of several recoveries that fail for one cause, the one that lost least shows it.
std::vector<Rejection> one_of_each_cause(const SecondCrashes& all) {
  const auto loss = [&](const Rejection& one) {
    return one.lost.size() + all.recoveries[one.subject].lost.size();
  };
  std::map<std::string, Rejection> by_cause;
  for (const auto& rejection : all.exploration.rejections) {
    auto [found, is_new] = by_cause.try_emplace(rejection.judgement.cause, rejection);
    if (is_new) continue;
    Rejection& best = found->second;
    auto models = best.models;
    models.insert(rejection.models.begin(), rejection.models.end());
    const auto count = best.count + rejection.count;
    if (loss(rejection) < loss(best)) best = rejection;
    best.models = std::move(models);
    best.count = count;
  }
  std::vector<Rejection> chosen;
  for (auto& [cause, rejection] : by_cause) chosen.push_back(std::move(rejection));
  return chosen;
}

SecondFinding finding_of(const Trace& trace, const CutRecovery& recovery, Rejection rejection,
                         const Basis& basis) {
  const Rejection first{.models = recovery.models,
                        .model = recovery.model,
                        .crash_point = recovery.crash_point,
                        .acknowledgement_end = recovery.acknowledgement_end,
                        .lost = recovery.lost};
  auto before = make_crash_finding(trace, first, basis, "power");
  auto finding = make_crash_finding(recovery.trace, rejection, basis, "power");
  finding.seen = "after a second power loss during recovery: " + finding.seen;
  finding.acknowledged = std::move(before.acknowledged);
  auto& lines = before.disturbances;
  if (lines.size() > kMostLostLines + 1) {
    const auto more = lines.size() - kMostLostLines - 1;
    lines.resize(kMostLostLines + 1);
    lines.push_back(fmt::format("... and {} more", more));
  }
  for (auto& line : finding.disturbances) line = "in the recovery: " + line;
  finding.disturbances.insert(finding.disturbances.begin(), lines.begin(), lines.end());
  finding.message = finding.seen;
  for (const auto& line : finding.disturbances) finding.message += "; " + line;
  finding.id = id_of("recovery " + finding.id);
  return {std::move(finding), std::move(rejection), std::move(lines)};
}

// In one process for all, as for the first crash.
Result<void> find(const Trace& trace, const SecondCrashOptions& options,
                  const std::vector<CrashSubject>& subjects, SecondCrashes& all) {
  const auto chosen = one_of_each_cause(all);
  if (chosen.empty()) return {};
  const auto& basis = options.exploration.basis;
  const auto body = [&](unsigned) {
    json minimal = json::array();
    for (const auto& rejection : chosen) {
      const auto& subject = subjects[rejection.subject];
      const auto judge = expect(subject.make_judge(options.exploration.jobs));
      auto smallest = expect(minimize_loss(subject, rejection, basis, judge));
      add_models_that_allow(smallest, subject, options.exploration.models, basis);
      minimal.push_back(to_json(smallest));
    }
    return minimal;
  };
  auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
  if (!answers) return tl::unexpected(answers.error());
  all.interrupted = !*answers;
  if (all.interrupted) return {};
  for (const auto& one : (*answers)->front()) {
    auto rejection = rejection_from_json(one);
    const auto& recovery = all.recoveries[rejection.subject];
    auto found = finding_of(trace, recovery, std::move(rejection), basis);
    const auto same = std::ranges::find_if(all.findings, [&](const SecondFinding& other) {
      return other.finding.id == found.finding.id;
    });
    if (same == all.findings.end())
      all.findings.push_back(std::move(found));
    else
      same->finding.count += found.finding.count;
  }
  return {};
}

}  // namespace

bool SecondCrashes::exhaustive() const {
  return all_recorded && std::ranges::all_of(exploration.models, [](const auto& model) {
           return model.second.exhaustive;
         });
}

Result<SecondCrashes> explore_second_crashes(const Trace& trace,
                                             const SecondCrashOptions& options) {
  SecondCrashes all;
  if (auto done = record_recoveries(trace, options, all); !done)
    return tl::unexpected(done.error());
  if (all.interrupted || all.recoveries.empty()) return all;
  const auto subjects = subjects_of(trace, options, all);
  auto explored = explore_crash_states(subjects, options.exploration);
  if (!explored) return tl::unexpected(explored.error());
  all.exploration = std::move(*explored);
  all.interrupted = all.exploration.interrupted;
  if (all.interrupted) return all;
  if (auto found = find(trace, options, subjects, all); !found)
    return tl::unexpected(found.error());
  return all;
}

}  // namespace crashgate::harness
