#include "harness/check/check_run.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <deque>
#include <iterator>
#include <set>

#include "harness/check/case_subject.h"
#include "harness/check/crash_case.h"
#include "harness/check/crash_finding.h"
#include "harness/check/disk_check.h"
#include "harness/check/state_checker.h"
#include "harness/check/workload.h"
#include "harness/clock.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::Recording;
using faultinject::Trace;

// Where no budget in states is given, the enumerator still has to know when to sample: so many
// states are all that a second and a job can be expected to judge.
constexpr double kCheckerStatesPerSecond = 3000;
constexpr double kLoopStatesPerSecond = 20000;

constexpr auto kFixingTime = std::chrono::seconds(15);  // for all findings; then no more are sought

// Parts of the budget's time: of what is left, where another stage comes after; and of what the
// recoveries have.
constexpr double kShareOfAStage = 0.5;
constexpr double kRecordingShare = 0.4;
constexpr std::uint64_t kFewestRecoveries = 16;
constexpr std::uint64_t kStatesOfARecovery = 16;  // are to be expected

Clock::time_point seconds_from_now(double seconds) {
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

tl::unexpected<Error> bad_input(std::string what, std::string where) {
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, std::move(what), std::move(where)});
}

class CheckRun {
 public:
  CheckRun(const CheckOptions& options, const ScratchDirectory& scratch)
      : options_(options),
        scratch_(scratch),
        started_(Clock::now()),
        disk_(options, scratch.path(), scratch.path() + "/work"),
        models_(options.models) {
    report_.seed = options.seed;
    report_.command = options.command;
    report_.models = options.models;
    report_.basis = to_string(options.basis);
  }

  Result<CheckReport> run() {
    for (const auto step : {&CheckRun::set_up, &CheckRun::record, &CheckRun::try_checker,
                            &CheckRun::record_on_disk, &CheckRun::explore, &CheckRun::explore_disks,
                            &CheckRun::find, &CheckRun::find_on_disk, &CheckRun::cut_recoveries}) {
      if (auto done = (this->*step)(); !done) return tl::unexpected(done.error());
      report_.interrupted = report_.interrupted || interrupting_signal() != 0;
      if (report_.interrupted) return std::move(report_);
    }
    conclude();
    report_.seconds = seconds_since(started_);
    return std::move(report_);
  }

 private:
  void show(std::string_view stage, std::uint64_t count, std::string_view unit = "states") const {
    if (options_.progress) options_.progress(stage, count, unit);
  }

  WorkloadOptions commanded(const std::string& command, std::string_view stage) const {
    auto asked = workload_options(options_, command, scratch_.path() + "/work", scratch_.path());
    asked.watch = [this, stage, begun = Clock::now()] {
      show(stage, static_cast<std::uint64_t>(seconds_since(begun)), "seconds");
    };
    return asked;
  }

  Result<void> set_up() {
    const auto directory = scratch_.path() + "/work";
    if (::mkdir(directory.c_str(), 0700) != 0)
      return tl::unexpected(error_from_errno(errno, "mkdir", directory));
    if (options_.setup.empty()) return {};
    auto ended = run_apart(commanded(options_.setup, "setup"));
    if (!ended) return tl::unexpected(ended.error());
    if (!*ended) return {};
    const auto& end = **ended;
    if (auto wrong = what_went_wrong("the setup", end, options_.workload_timeout); !wrong.empty())
      return bad_input(std::move(wrong), options_.setup);
    for (const auto& command : end.left_behind)
      report_.notes.push_back("a process outlived the setup, and was killed: " + command);
    return {};
  }

  Result<void> record() {
    const auto begun = Clock::now();
    auto recorded = record_apart(commanded(options_.workload, "recording"));
    if (!recorded) return tl::unexpected(recorded.error());
    if (!*recorded) return {};
    recording_ = std::move(**recorded);
    report_.recording_seconds = seconds_since(begun);
    if (auto wrong = what_went_wrong("the workload", end_of(recording_), options_.workload_timeout);
        !wrong.empty())
      return bad_input(std::move(wrong), options_.workload);
    note_recording();
    return {};
  }

  const Trace& trace() const { return recording_.trace; }

  void note_recording() {
    report_.recorder = trace().recorder;
    std::set<std::uint32_t> processes;
    for (const auto& event : trace().events) {
      processes.insert(event.process);
      report_.events += event.kind == EventKind::kStorage ? 1 : 0;
      report_.acknowledgements += event.kind == EventKind::kAcknowledgement ? 1 : 0;
    }
    report_.processes = processes.size();
    report_.inconclusive_reasons = doubts_about(trace());
    if (!report_.inconclusive_reasons.empty() && std::erase(models_, find_model("kill")) > 0)
      report_.notes.emplace_back(
          "kill is not explored: what no recorded call made survives a kill");
    for (const auto& command : recording_.left_behind)
      report_.notes.push_back("a process outlived the workload, and was killed: " + command);
    for (const auto& path : recording_.written_outside)
      report_.notes.push_back("the workload writes outside its directory: " + path);
    if (recording_.more_written_outside) report_.notes.emplace_back("... and to more files");
    if (report_.events == 0)
      report_.notes.push_back("the workload changed nothing in its directory (CRASHGATE_DIR)");
    if (report_.acknowledgements == 0)
      report_.notes.push_back(
          "the workload said nothing on its standard output: no promise of its can be broken");
    else if (recording_.output_only_at_exit && lines_told() > 1)
      report_.notes.push_back(
          "standard output came only at the end, after the last change: acknowledgements come too "
          "late to test anything (--tty gives the workload a terminal)");
  }

  std::size_t lines_told() const {
    const auto told = acknowledgements(trace());
    return static_cast<std::size_t>(std::ranges::count(told, '\n'));
  }

  // In a process of its own: a judge may change its mount namespace.
  Result<void> try_checker() {
    show("trying the checker", 0);
    const auto body = [&](unsigned) -> nlohmann::json {
      auto judge = make_judge("try");
      if (!judge) return {{"failed", to_string(judge.error())}};
      CrashState state;
      const auto final_tree = tree_of(trace(), trace().final);
      state.acknowledgement_end = acknowledgements(trace()).size();
      state.tree = &final_tree;
      auto judged = (*judge)(state);
      if (!judged)
        return judged.error().code == ErrorCode::kInvalidArgument
                   ? nlohmann::json{{"broken", judged.error().path}}
                   : nlohmann::json{{"failed", to_string(judged.error())}};
      nlohmann::json answer{{"final", judged->accepted ? "" : judged->message}};
      const auto initial_tree = tree_of(trace(), trace().initial);
      state.acknowledgement_end = 0;
      state.tree = &initial_tree;
      judged = (*judge)(state);
      answer["initial"] = judged && judged->accepted ? "" : judged->message;
      return answer;
    };
    auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
    if (!answers) return tl::unexpected(answers.error());
    if (!*answers) return {};
    const auto& answer = (*answers)->front();
    if (answer.contains("failed"))
      return tl::unexpected(Error{ErrorCode::kIo, 0, "checker", answer.at("failed")});
    if (answer.contains("broken"))
      return bad_input("the checker cannot be run in the directory of a crash state",
                       answer.at("broken"));
    if (const std::string why = answer.at("final"); !why.empty())
      return bad_input("the directory as the workload left it is rejected, without any crash", why);
    if (const std::string why = answer.at("initial"); !why.empty())
      report_.notes.push_back("the directory as it was before the workload is rejected: " + why);
    return {};
  }

  Result<StateJudge> make_judge(const std::string& name) const {
    return make_state_checker(trace(), {scratch_.path(), options_.checker}, name);
  }

  // `share`: of the budget's time, from now on.
  CrashExplorationOptions exploration(double share) const {
    CrashExplorationOptions exploring;
    exploring.models = models_;
    exploring.basis = options_.basis;
    exploring.seed = options_.seed;
    exploring.jobs = options_.jobs;
    if (options_.budget_seconds > 0) {
      exploring.deadline = seconds_from_now(options_.budget_seconds * share);
      const double rate = options_.checker.loop ? kLoopStatesPerSecond : kCheckerStatesPerSecond;
      exploring.state_limit = static_cast<std::uint64_t>(options_.budget_seconds * rate *
                                                         static_cast<double>(options_.jobs));
    }
    if (options_.state_limit > 0) exploring.state_limit = options_.state_limit;
    return exploring;
  }

  bool has_recovery() const { return !options_.checker.recover.empty(); }
  int stages_after_models() const { return (disk_.is_off() ? 0 : 1) + (has_recovery() ? 1 : 0); }

  Result<void> explore() {
    exploring_since_ = Clock::now();
    auto exploring = exploration(std::pow(kShareOfAStage, stages_after_models()));
    exploring.test_barriers = !exploring.models.empty();
    exploring.progress = [&](std::uint64_t states, std::uint64_t) { show("crash states", states); };
    auto explored = explore_crash_states(subjects(), exploring);
    if (!explored) return tl::unexpected(explored.error());
    report_.exploration = std::move(*explored);
    report_.interrupted = report_.exploration.interrupted;
    return {};
  }

  // The directory as the workload found it; on disk it stands in its place.
  Result<void> record_on_disk() {
    if (disk_.is_off()) return {};
    return disk_.record();
  }

  Result<void> explore_disks() {
    if (disk_.is_off()) return {};
    const double seconds = seconds_left() * (has_recovery() ? kShareOfAStage : 1);
    return disk_.explore(options_.budget_seconds > 0 ? seconds_from_now(seconds)
                                                     : Clock::time_point::max());
  }

  Result<void> find_on_disk() {
    if (disk_.is_off()) return {};
    auto found = disk_.find();
    if (!found) return tl::unexpected(found.error());
    std::ranges::move(*found, std::back_inserter(report_.findings));
    return {};
  }

  // Of the budget.
  double seconds_left() const {
    return std::max(0.0, options_.budget_seconds - seconds_since(exploring_since_));
  }

  // What is left of the budget. In states: as many again as the first crashes have.
  Result<void> cut_recoveries() {
    if (!has_recovery()) return {};
    const auto first = exploration(1);
    const double left = seconds_left();
    SecondCrashOptions cutting{
        .exploration = first,
        .checker = {scratch_.path(), options_.checker},
        .recovery = commanded(options_.checker.recover, ""),
        .first_state_limit = first.state_limit,
        .recovery_limit = std::max(kFewestRecoveries, first.state_limit / kStatesOfARecovery),
        .progress = options_.progress};
    cutting.recovery.terminal = false;
    cutting.recovery.time_limit = options_.checker.timeout;
    if (options_.budget_seconds > 0) {
      cutting.recording_deadline = seconds_from_now(left * kRecordingShare);
      cutting.exploration.deadline = seconds_from_now(left);
    } else {
      cutting.exploration.judgement_limit = first.state_limit * first.models.size();
    }
    cutting.exploration.progress = [&](std::uint64_t states, std::uint64_t) {
      show("second crash", states);
    };
    auto cut = explore_second_crashes(trace(), cutting);
    if (!cut) return tl::unexpected(cut.error());
    for (const auto& doubt : cut->doubts)
      report_.inconclusive_reasons.push_back("during recovery: " + doubt);
    for (auto& [finding, rejection, first_crash] : cut->findings) {
      const auto& recovery = cut->recoveries[rejection.subject];
      auto subject = case_subject(options_);
      subject["told"] = acknowledgements(trace()).substr(0, recovery.acknowledgement_end);
      subject["first_crash"] = first_crash;
      finding.case_path = save(finding, rejection, std::move(subject), recovery.trace);
      report_.findings.push_back(std::move(finding));
    }
    report_.interrupted = cut->interrupted;
    report_.second = std::move(*cut);
    return {};
  }

  std::vector<CrashSubject> subjects() const {
    return {{&trace(), [this](unsigned job) { return make_judge(std::to_string(job)); }}};
  }

  // Makes each rejection minimal, in one process for all of them, and saves it.
  Result<void> find() {
    const auto& rejections = report_.exploration.rejections;
    if (rejections.empty()) return {};
    show("minimizing", report_.exploration.states);
    const auto body = [&](unsigned) {
      std::deque<Trace> tried;  // outlives the judge
      auto judge = make_judge("minimize");
      if (!judge) throw std::runtime_error(to_string(judge.error()));
      const auto subject = subjects().front();
      const auto fixing_ends = Clock::now() + kFixingTime;
      auto all = nlohmann::json::array();
      for (const auto& rejection : rejections) {
        auto minimal = minimize_loss(subject, rejection, options_.basis, *judge);
        if (!minimal) throw std::runtime_error(to_string(minimal.error()));
        add_models_that_allow(*minimal, subject, models_, options_.basis);
        all.push_back({{"rejection", to_json(*minimal)}, {"fix", nullptr}});
        if (Clock::now() > fixing_ends) continue;
        auto fix = find_fix(subject, *minimal, options_.basis, *judge, tried);
        if (!fix) throw std::runtime_error(to_string(fix.error()));
        if (*fix) all.back()["fix"] = to_json(**fix);
      }
      return all;
    };
    auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
    if (!answers) return tl::unexpected(answers.error());
    if (!*answers) return {};
    std::vector<CrashFinding> found;
    for (const auto& one : (*answers)->front()) {
      const auto rejection = rejection_from_json(one.at("rejection"));
      auto finding = make_crash_finding(trace(), rejection, options_.basis, "power");
      if (const auto& fix = one.at("fix"); !fix.is_null())
        finding.fix = make_finding_fix(trace(), fix_from_json(fix));
      add_crash_finding(found, {std::move(finding), rejection});
    }
    for (auto& [finding, rejection] : found) {
      finding.case_path = save(finding, rejection, case_subject(options_), trace());
      report_.findings.push_back(std::move(finding));
    }
    return {};
  }

  std::string save(const Finding& finding, const Rejection& rejection, nlohmann::json subject,
                   const Trace& recorded) {
    const CrashCase saved{.id = finding.id,
                          .kind = finding.kind,
                          .message = finding.message,
                          .seed = options_.seed,
                          .rejection = rejection,
                          .basis = options_.basis,
                          .subject = std::move(subject),
                          .trace = recorded};
    auto path = save_crash_case(options_.out, saved);
    if (path) return *path;
    report_.notes.push_back("a case is not saved: " + to_string(path.error()));
    return "";
  }

  void note_flaky(const CrashExploration& explored) {
    if (explored.flaky == 0) return;
    report_.inconclusive_reasons.push_back(
        fmt::format("the checker is flaky: it accepted {} that it had rejected; {}",
                    counted(explored.flaky, "state"), explored.flaky_message));
  }

  void conclude() {
    note_flaky(report_.exploration);
    if (report_.second) note_flaky(report_.second->exploration);
    faultinject::EventDescriber describer(trace());
    for (const auto& test : report_.exploration.barriers) {
      if (test.noticed || test.states_added == 0) continue;
      report_.blind.push_back(
          fmt::format("without {} there are {} more states, and the checker "
                      "accepts {}",
                      describer.describe(test.event), test.states_added,
                      test.exhaustive ? "them all" : "all tried"));
    }
    conclude_disks();
    expect_asked_for("disk", !options_.disks.empty(), "--disk");
    expect_asked_for("recovery", !options_.checker.recover.empty(), "--recover");
    report_.verdict = verdict_of(report_.findings, options_.fail_on, report_.inconclusive_reasons);
  }

  bool is_required(std::string_view engine) const {
    return std::ranges::find(options_.required_engines, engine) != options_.required_engines.end();
  }

  // Whether --fail-on has this file system; empty: any.
  bool is_disk_gate(std::string_view file_system) const {
    return std::ranges::any_of(options_.fail_on, [&](const std::string& name) {
      return file_system.empty() ? name.starts_with("disk:")
                                 : name == "disk:" + std::string(file_system);
    });
  }

  void expect_asked_for(std::string_view engine, bool is_asked_for, std::string_view option) {
    if (is_asked_for || !is_required(engine)) return;
    report_.inconclusive_reasons.push_back(
        fmt::format("engine {} was skipped: {} was not given", engine, option));
  }

  void conclude_disks() {
    if (options_.disks.empty()) return;
    auto& disk = disk_.report();
    std::ranges::move(disk.notes, std::back_inserter(report_.notes));
    if (disk.flaky > 0)
      report_.inconclusive_reasons.push_back(
          fmt::format("the checker is flaky: it accepted {} that it had rejected; {}",
                      counted(disk.flaky, "disk state"), disk.flaky_message));
    if (!disk.skipped.empty() && (is_required("disk") || is_disk_gate("")))
      report_.inconclusive_reasons.push_back("engine disk was skipped: " + disk.skipped);
    for (const auto& line : disk.left_out) {
      const auto file_system = line.substr(0, line.find(':'));
      if (disk.skipped.empty() && (is_required("disk") || is_disk_gate(file_system)))
        report_.inconclusive_reasons.push_back("engine disk left out " + line);
    }
    report_.disk = std::move(disk);
  }

  const CheckOptions& options_;
  const ScratchDirectory& scratch_;
  Clock::time_point started_;
  DiskCheck disk_;
  Clock::time_point exploring_since_;
  Recording recording_;
  std::vector<const PersistenceModel*> models_;  // that can judge it
  CheckReport report_;
};

}  // namespace

WorkloadOptions workload_options(const CheckOptions& options, const std::string& command,
                                 const std::string& directory, const std::string& scratch) {
  return {.command = command,
          .directory = directory,
          .scratch = scratch,
          .ignored = options.ignored,
          .recorder = options.recorder,
          .terminal = options.terminal,
          .stacks = options.stacks,
          .time_limit = options.workload_timeout};
}

Result<CheckReport> run_check(const CheckOptions& options) {
  auto scratch = ScratchDirectory::create();
  if (!scratch) return tl::unexpected(scratch.error());
  return CheckRun(options, *scratch).run();
}

}  // namespace crashgate::harness
