#include "harness/check/check_run.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "faultinject/ptrace_recorder.h"
#include "harness/check/crash_case.h"
#include "harness/check/crash_finding.h"
#include "harness/check/state_checker.h"
#include "harness/check/workload.h"
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

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

tl::unexpected<Error> bad_input(std::string what, std::string where) {
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, std::move(what), std::move(where)});
}

class CheckRun {
 public:
  CheckRun(const CheckOptions& options, const ScratchDirectory& scratch)
      : options_(options), scratch_(scratch), started_(Clock::now()) {
    report_.seed = options.seed;
    report_.command = options.command;
    report_.models = options.models;
    report_.basis = to_string(options.basis);
  }

  Result<CheckReport> run() {
    for (const auto step : {&CheckRun::record, &CheckRun::compare_trees, &CheckRun::try_checker,
                            &CheckRun::explore, &CheckRun::find}) {
      if (auto done = (this->*step)(); !done) return tl::unexpected(done.error());
      report_.interrupted = report_.interrupted || interrupting_signal() != 0;
      if (report_.interrupted) return std::move(report_);
    }
    conclude();
    report_.seconds = seconds_since(started_);
    return std::move(report_);
  }

 private:
  void show(std::string_view stage, std::uint64_t states) const {
    if (options_.progress) options_.progress(stage, states);
  }

  Result<void> record() {
    const auto directory = scratch_.path() + "/work";
    if (::mkdir(directory.c_str(), 0700) != 0)
      return tl::unexpected(error_from_errno(errno, "mkdir", directory));
    if (auto set_up = run_setup_command(options_.setup, directory); !set_up) return set_up;
    show("recording", 0);
    const auto begun = Clock::now();
    auto recorded = record_in(directory);
    if (!recorded || interrupting_signal() != 0) return recorded;
    report_.recording_seconds = seconds_since(begun);
    if (auto succeeded = expect_success(recording_, options_); !succeeded) return succeeded;
    note_recording();
    return {};
  }

  // By a process of its own: when that is killed, everything that it traces dies with it.
  Result<void> record_in(const std::string& directory) {
    const auto trace_path = scratch_.path() + "/trace";
    const auto body = [&](unsigned) -> nlohmann::json {
      auto recording = faultinject::record_with_ptrace(workload_options(options_, directory));
      if (!recording)
        return {{"failed", recording.error().message}, {"theirs", recording.error().bad_input}};
      if (auto written = faultinject::write_trace(recording->trace, trace_path); !written)
        return {{"failed", written.error().message}, {"theirs", false}};
      return {{"exit_status", recording->exit_status},
              {"signal", recording->signal},
              {"left_behind", recording->left_behind},
              {"written_outside", recording->written_outside},
              {"more_written_outside", recording->more_written_outside},
              {"output_only_at_exit", recording->output_only_at_exit}};
    };
    auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
    if (!answers) return tl::unexpected(answers.error());
    if (!*answers) return {};
    const auto& answer = (*answers)->front();
    if (answer.contains("failed"))
      return tl::unexpected(
          Error{answer.at("theirs") ? ErrorCode::kInvalidArgument : ErrorCode::kIo, 0, "recording",
                answer.at("failed")});
    recording_.exit_status = answer.at("exit_status");
    recording_.signal = answer.at("signal");
    recording_.left_behind = answer.at("left_behind");
    recording_.written_outside = answer.at("written_outside");
    recording_.more_written_outside = answer.at("more_written_outside");
    recording_.output_only_at_exit = answer.at("output_only_at_exit");
    auto trace = faultinject::read_trace(trace_path);
    if (!trace) return tl::unexpected(Error{ErrorCode::kIo, 0, "recording", trace.error().message});
    recording_.trace = std::move(*trace);
    return {};
  }

  const Trace& trace() const { return recording_.trace; }

  void note_recording() {
    report_.recorder = trace().recorder;
    std::set<std::uint32_t> processes;
    std::set<std::string> unmodelled;
    for (std::size_t i = 0; i < trace().events.size(); ++i) {
      const auto& event = trace().events[i];
      processes.insert(event.process);
      report_.events += event.kind == EventKind::kStorage ? 1 : 0;
      report_.acknowledgements += event.kind == EventKind::kAcknowledgement ? 1 : 0;
      if (event.kind != EventKind::kUnmodelled) continue;
      const auto path = faultinject::event_path(trace(), i);
      unmodelled.insert(path.empty() ? event.text : event.text + ": " + path);
    }
    report_.processes = processes.size();
    for (const auto& text : unmodelled) report_.inconclusive_reasons.push_back(text);
    for (const auto& text : trace().blind_spots) report_.inconclusive_reasons.push_back(text);
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

  Result<void> compare_trees() {
    const auto difference =
        first_difference(predicted_tree(trace()), tree_of(trace(), trace().final));
    if (!difference.empty())
      report_.inconclusive_reasons.push_back(
          "the directory is not what the recorded calls make of it: " + difference);
    return {};
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
      return bad_input(
          "the checker rejects the directory as the workload left it, without any crash", why);
    if (const std::string why = answer.at("initial"); !why.empty())
      report_.notes.push_back("the checker rejects the directory as it was before the workload: " +
                              why);
    return {};
  }

  Result<StateJudge> make_judge(const std::string& name) const {
    return make_state_checker(trace(), {scratch_.path(), options_.checker}, name);
  }

  Result<void> explore() {
    CrashExplorationOptions exploring;
    exploring.models = options_.models;
    exploring.basis = options_.basis;
    exploring.seed = options_.seed;
    exploring.jobs = options_.jobs;
    exploring.test_barriers = true;
    exploring.progress = [&](std::uint64_t states, std::uint64_t) { show("crash states", states); };
    if (options_.budget_seconds > 0) {
      exploring.deadline =
          Clock::now() + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(options_.budget_seconds));
      const double rate = options_.checker.loop ? kLoopStatesPerSecond : kCheckerStatesPerSecond;
      exploring.state_limit = static_cast<std::uint64_t>(options_.budget_seconds * rate *
                                                         static_cast<double>(options_.jobs));
    }
    if (options_.state_limit > 0) exploring.state_limit = options_.state_limit;
    auto explored = explore_crash_states(subjects(), exploring);
    if (!explored) return tl::unexpected(explored.error());
    report_.exploration = std::move(*explored);
    report_.interrupted = report_.exploration.interrupted;
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
      auto judge = make_judge("minimize");
      if (!judge) throw std::runtime_error(to_string(judge.error()));
      auto all = nlohmann::json::array();
      for (const auto& rejection : rejections) {
        auto minimal = minimize_loss(subjects().front(), rejection, options_.basis, *judge);
        if (!minimal) throw std::runtime_error(to_string(minimal.error()));
        all.push_back(to_json(*minimal));
      }
      return all;
    };
    auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
    if (!answers) return tl::unexpected(answers.error());
    if (!*answers) return {};
    std::vector<CrashFinding> found;
    for (const auto& one : (*answers)->front()) {
      const auto rejection = rejection_from_json(one);
      add_crash_finding(
          found, {make_crash_finding(trace(), rejection, options_.basis, "power"), rejection});
    }
    for (auto& [finding, rejection] : found) {
      finding.case_path = save(finding, rejection);
      report_.findings.push_back(std::move(finding));
    }
    return {};
  }

  std::string save(const Finding& finding, const Rejection& rejection) {
    const CrashCase saved{.id = finding.id,
                          .kind = finding.kind,
                          .message = finding.message,
                          .seed = options_.seed,
                          .rejection = rejection,
                          .basis = options_.basis,
                          .subject = {{"checker", options_.checker.command},
                                      {"loop", options_.checker.loop},
                                      {"timeout", options_.checker.timeout.count()},
                                      {"workload", options_.workload},
                                      {"setup", options_.setup}},
                          .trace = trace()};
    auto path = save_crash_case(options_.out, saved);
    if (path) return *path;
    report_.notes.push_back("a case is not saved: " + to_string(path.error()));
    return "";
  }

  void conclude() {
    const auto& exploration = report_.exploration;
    if (exploration.flaky > 0)
      report_.inconclusive_reasons.push_back(
          fmt::format("the checker is flaky: it accepted {} state(s) that it had rejected; {}",
                      exploration.flaky, exploration.flaky_message));
    for (const auto& test : exploration.barriers) {
      if (test.noticed || test.states_added == 0) continue;
      report_.blind.push_back(
          fmt::format("without {} there are {} more states, and the checker "
                      "accepts {}",
                      faultinject::describe_event(trace(), test.event), test.states_added,
                      test.exhaustive ? "them all" : "all tried"));
    }
    const auto counts = [&](const Finding& finding) {
      return std::ranges::any_of(options_.fail_on, [&](const PersistenceModel* model) {
        return std::ranges::find(finding.models, model->name) != finding.models.end();
      });
    };
    if (std::ranges::any_of(report_.findings, counts))
      report_.verdict = Verdict::kFail;
    else if (!report_.inconclusive_reasons.empty())
      report_.verdict = Verdict::kInconclusive;
  }

  const CheckOptions& options_;
  const ScratchDirectory& scratch_;
  Clock::time_point started_;
  Recording recording_;
  CheckReport report_;
};

}  // namespace

Result<CheckReport> run_check(const CheckOptions& options) {
  auto scratch = ScratchDirectory::create();
  if (!scratch) return tl::unexpected(scratch.error());
  return CheckRun(options, *scratch).run();
}

}  // namespace crashgate::harness
