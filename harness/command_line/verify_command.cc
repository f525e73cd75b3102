#include "harness/command_line/verify_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/check/crash_case.h"
#include "harness/check/crash_finding.h"
#include "harness/check/disk_minimal.h"
#include "harness/clock.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/progress_bar.h"
#include "harness/engine/engine.h"
#include "harness/plan/scratch_directory.h"
#include "harness/report/case_directory.h"
#include "harness/report/disk_rows.h"
#include "harness/report/saved_case.h"
#include "harness/report/verify_report.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kMostMinimizedOfAKind = 3;
constexpr auto kMinimizingTime = std::chrono::seconds(3);  // for one finding
constexpr auto kFixingTime = std::chrono::seconds(5);  // for all findings; then no more are sought

std::chrono::nanoseconds seconds(double count) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(count * 1e9));
}

// What is left of the budget, to be shared among the engines still to come: one that needs less
// leaves more to the next.
class Budget {
 public:
  explicit Budget(const VerifyOptions& options) : options_(options), started_(Clock::now()) {}

  /// `part`: of what is left.
  void grant(double part, std::uint64_t runs_so_far, ExploreOptions& explore) const {
    if (options_.budget_seconds > 0) {
      const double left = std::max(0.0, options_.budget_seconds - seconds_since(started_));
      explore.deadline =
          Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds(left * part));
    }
    if (options_.run_limit > 0) {
      const auto left = options_.run_limit > runs_so_far ? options_.run_limit - runs_so_far : 0;
      explore.run_limit = static_cast<std::uint64_t>(static_cast<double>(left) * part);
    }
  }

 private:
  const VerifyOptions& options_;
  Clock::time_point started_;
};

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate verify: {}\n", message);
  return status;
}

class Verification {
 public:
  Verification(const StoreEntry& store, const VerifyOptions& options,
               const ScratchDirectory& scratch)
      : store_(store), options_(options), scratch_(scratch), progress_(!options.quiet) {}

  Result<VerifyReport> run() {
    const auto started = Clock::now();
    VerifyReport report{
        .store = std::string(store_.name), .seed = options_.seed, .command = options_.command};
    const Budget budget(options_);
    std::uint64_t runs = 0;
    for (std::size_t i = 0; i < engines().size(); ++i) {
      if (!is_wanted(engines()[i])) {
        report.engines.push_back({.name = engines()[i].name, .skipped = why_not_wanted()});
        continue;
      }
      auto result = run_engine(i, budget, runs);
      if (!result) return tl::unexpected(result.error());
      runs += result->exploration.tally.runs;
      report.engines.push_back(std::move(*result));
      if (interrupting_signal() != 0) return report;
    }
    if (auto found = minimize_all(report); !found) return tl::unexpected(found.error());
    // What was torn or lost first, then the most frequent.
    std::ranges::stable_sort(report.findings, [](const Finding& a, const Finding& b) {
      return std::pair(a.kind, b.count) < std::pair(b.kind, a.count);
    });
    progress_.clear();
    conclude(report);
    report.seconds = seconds_since(started);
    return report;
  }

  /// Says which planned kills did not happen; empty: none.
  const std::string& missed_kill() const { return missed_kill_; }

 private:
  static bool is_kill(const PersistenceModel* model) { return model->completed_calls_persist; }

  std::vector<const PersistenceModel*> power_models() const {
    auto wanted = options_.models;
    std::erase_if(wanted, is_kill);
    return wanted;
  }

  bool is_wanted(const Engine& engine) const {
    return engine.cuts_power ? !power_models().empty()
                             : std::ranges::any_of(options_.models, is_kill);
  }

  std::string why_not_wanted() const {
    std::vector<std::string_view> names;
    for (const auto* model : options_.models) names.push_back(model->name);
    return fmt::format("not asked for: --model {}", fmt::join(names, ","));
  }

  Result<EngineResult> run_engine(std::size_t index, const Budget& budget,
                                  std::uint64_t runs_so_far) {
    const auto& engine = engines()[index];
    EngineOptions options;
    options.seed = options_.seed;
    options.unbounded = options_.budget_given;
    options.models = power_models();
    options.basis = options_.basis;
    options.explore.jobs = options_.jobs;
    options.explore.directory = scratch_.path();
    options.explore.progress = [&](std::uint64_t runs, std::uint64_t done, std::uint64_t all) {
      progress_.show(engine.name, runs, done, all);
    };
    double shares = 0;
    for (const auto& each : engines().subspan(index)) shares += is_wanted(each) ? each.share : 0;
    budget.grant(engine.share / shares, runs_so_far, options.explore);
    const auto started = Clock::now();
    auto result = engine.run(store_, options);
    if (result) result->seconds = seconds_since(started);
    return result;
  }

  // Several failing causes are often one mistake seen from several sides: each is made minimal, and
  // those that become alike are one finding. Of one kind only the first few are tried.
  Result<void> minimize_all(VerifyReport& report) {
    auto directory = ScratchDirectory::create_in(scratch_.path());
    if (!directory) return tl::unexpected(directory.error());
    auto runner = Runner::create(store_, directory->path());
    if (!runner) return tl::unexpected(runner.error());
    std::map<FindingKind, std::size_t> tried;
    for (const auto& engine : report.engines) {
      if (engine.crash) {
        if (auto added = add_crash_findings(engine, directory->path(), report); !added)
          return added;
      }
      if (engine.disk) {
        if (auto added = add_disk_findings(engine, report); !added) return added;
      }
      std::vector<const Failure*> failures;
      for (const auto& [cause, failure] : engine.exploration.tally.failures)
        failures.push_back(&failure);
      std::ranges::sort(failures, {}, &Failure::unit);
      for (const auto* failure : failures) {
        if (interrupting_signal() != 0) return {};
        if (++tried[failure->violation.kind] > kMostMinimizedOfAKind) {
          ++report.unminimized;
          continue;
        }
        progress_.show("minimizing", report.findings.size(), 0, UINT64_MAX);
        if (auto added = add_finding(*runner, engine.name, *failure, report); !added) return added;
      }
    }
    return {};
  }

  Result<void> add_finding(Runner& runner, std::string_view engine, const Failure& failure,
                           VerifyReport& report) {
    auto minimized =
        minimize(runner, failure.plan, failure.violation.kind, Clock::now() + kMinimizingTime);
    if (!minimized) return tl::unexpected(minimized.error());
    if (minimized->history.processes.empty()) {
      report.inconclusive_reasons.push_back(
          fmt::format("a violation did not show again: {}", failure.violation.message));
      return {};
    }
    auto finding = make_finding(*minimized);
    const auto same = std::ranges::find(report.findings, finding.id, &Finding::id);
    if (same != report.findings.end()) {
      same->count += failure.count;
      if (same->engine.find(engine) == std::string::npos)
        same->engine += ", " + std::string(engine);
      return {};
    }
    finding.engine = engine;
    finding.count = failure.count;
    if (auto path = save(runner, finding, *minimized)) {
      finding.case_path = std::move(*path);
    } else {
      progress_.clear();
      complain("the case is not saved: " + to_string(path.error()), kExitFailed);  // but reported
    }
    report.findings.push_back(std::move(finding));
    return {};
  }

  Result<void> add_crash_findings(const EngineResult& engine, const std::string& directory,
                                  VerifyReport& report) {
    const auto& crash = *engine.crash;
    std::vector<CrashFinding> found;
    std::map<std::string, std::size_t> tried;  // by cause
    const auto fixing_ends = Clock::now() + kFixingTime;
    for (const auto& rejection : crash.exploration.rejections) {
      if (interrupting_signal() != 0) return {};
      if (++tried[rejection.judgement.cause] > kMostMinimizedOfAKind) {
        ++report.unminimized;
        continue;
      }
      progress_.show("minimizing", report.findings.size(), 0, UINT64_MAX);
      const auto& recording = (*crash.recordings)[rejection.subject];
      const CrashSubject subject{&recording.trace, {}};
      std::deque<faultinject::Trace> with_fixes;  // outlives the judge
      auto judge = make_store_judge(store_, recording, directory + "/crash");
      if (!judge) return tl::unexpected(judge.error());
      auto minimal = minimize_loss(subject, rejection, options_.basis, *judge);
      if (!minimal) return tl::unexpected(minimal.error());
      auto finding =
          make_crash_finding(recording.trace, *minimal, options_.basis, std::string(engine.name));
      if (Clock::now() < fixing_ends) {
        const auto fix = find_fix(subject, *minimal, options_.basis, *judge, with_fixes);
        if (!fix) return tl::unexpected(fix.error());
        if (*fix) finding.fix = make_finding_fix(recording.trace, **fix);
      }
      add_crash_finding(found, {std::move(finding), std::move(*minimal)});
    }
    for (auto& [finding, rejection] : found) {
      const auto& recording = (*crash.recordings)[rejection.subject];
      finding.processes = describe_processes(recording.history.plan);
      const CrashCase saved{.id = finding.id,
                            .kind = finding.kind,
                            .message = finding.message,
                            .seed = options_.seed,
                            .rejection = rejection,
                            .basis = options_.basis,
                            .subject = to_json(store_, recording.history),
                            .trace = recording.trace};
      if (auto path = save_crash_case(options_.out, saved)) {
        finding.case_path = std::move(*path);
      } else {
        progress_.clear();
        complain("the case is not saved: " + to_string(path.error()), kExitFailed);
      }
      report.findings.push_back(std::move(finding));
    }
    return {};
  }

  Result<void> add_disk_findings(const EngineResult& engine, VerifyReport& report) {
    const auto& disk = *engine.disk;
    if (disk.exploration.flaky > 0)
      report.inconclusive_reasons.push_back(
          fmt::format("engine disk: {} state(s) were rejected, and then accepted; {}",
                      disk.exploration.flaky, disk.exploration.flaky_message));
    if (disk.exploration.rejections.empty()) return {};
    progress_.show("minimizing", report.findings.size(), 0, UINT64_MAX);
    DiskFindingOptions options{.exploring = disk.options, .out = options_.out};
    options.judge_of = [&](std::size_t subject) {
      const auto& recording = disk.recordings[subject];
      auto judge = to_json(store_, recording.history);
      judge["root"] = recording.disk.trace.directory.substr(recording.disk.directory.size());
      return judge;
    };
    std::vector<std::string> not_saved;
    std::vector<std::size_t> examples;
    auto found = find_on_disks(subjects_of(store_, disk), disk.exploration.rejections, options,
                               not_saved, &examples);
    if (!found) return tl::unexpected(found.error());
    for (std::size_t i = 0; i < found->size(); ++i) {
      (*found)[i].processes = describe_processes(disk.recordings[examples[i]].history.plan);
      report.findings.push_back(std::move((*found)[i]));
    }
    for (const auto& line : not_saved) {
      progress_.clear();
      complain(line, kExitFailed);
    }
    return {};
  }

  // Runs the minimal plan once more, for the tree as the crash leaves it.
  Result<std::string> save(Runner& runner, const Finding& finding, const Minimized& minimized) {
    SavedCase saved{std::string(store_.name),
                    finding.id,
                    finding.kind,
                    finding.message,
                    options_.seed,
                    minimized.plan,
                    call_order(minimized.history)};
    Result<std::string> path = std::string();
    RunOptions run_options;
    run_options.at_crash = [&](const std::string& root) {
      path = save_case(options_.out, saved, root);
    };
    if (auto history = runner.run(minimized.plan, run_options); !history)
      return tl::unexpected(history.error());
    return path;
  }

  void conclude(VerifyReport& report) {
    for (const auto& engine : report.engines) {
      const auto& tally = engine.exploration.tally;
      if (tally.planned_kills_missed > 0) {
        missed_kill_ = fmt::format("{}: {} planned kill(s) did not happen; {}", engine.name,
                                   tally.planned_kills_missed, tally.missed_kill);
        report.inconclusive_reasons.push_back(missed_kill_);
      }
      const bool required = std::ranges::find(options_.required_engines, engine.name) !=
                            options_.required_engines.end();
      if (required && !engine.skipped.empty())
        report.inconclusive_reasons.push_back(
            fmt::format("engine {} was skipped: {}", engine.name, engine.skipped));
      if (engine.name == "disk") doubt_gates(engine, report.inconclusive_reasons);
    }
    report.verdict = verdict_of(report.findings, options_.fail_on, report.inconclusive_reasons);
  }

  // A gate on a file system that was not looked at has nothing to say.
  void doubt_gates(const EngineResult& disk, std::vector<std::string>& reasons) const {
    for (const auto& file_system : file_systems()) {
      const auto name = disk_model_name(file_system);
      const auto& gates = options_.fail_on;
      if (std::ranges::find(gates, name) == gates.end()) continue;
      if (disk.disk && std::ranges::any_of(disk.disk->recordings, [&](const auto& recording) {
            return recording.disk.choice.file_system == &file_system;
          }))
        continue;
      const auto& why_not = disk.skipped.empty() ? disk.left_out : disk.skipped;
      reasons.push_back(fmt::format("--fail-on {}: it was not looked at: {}", name,
                                    why_not.empty() ? "the budget ended" : why_not));
    }
  }

  const StoreEntry& store_;
  const VerifyOptions& options_;
  const ScratchDirectory& scratch_;
  ProgressBar progress_;
  std::string missed_kill_;  // of an engine; empty: none
};

}  // namespace

int verify(const VerifyOptions& options) {
  const auto* store = find_store(options.store);
  if (store == nullptr)
    return complain(
        fmt::format("no store is called \"{}\"; --list-stores names them", options.store),
        kExitBadInput);
  if (const auto why_not = why_no_cases_in(options.out); !why_not.empty())
    return complain("--out: " + why_not, kExitBadInput);
  if (!can_write_json(options.json_path)) {
    return complain(fmt::format("--json: cannot write {}", options.json_path), kExitBadInput);
  }
  const bool text = options.json_path != "-" && !options.quiet;
  const auto begin = first_line(options.seed, options.store) + "\n";
  if (text) {
    fmt::print("{}", begin);
    std::fflush(stdout);
  }
  install_interrupt_handler();
  auto scratch = ScratchDirectory::create();
  if (!scratch) return complain(to_string(scratch.error()), kExitFailed);
  Verification verification(*store, options, *scratch);
  const auto report = verification.run();
  if (!report) return complain(to_string(report.error()), kExitFailed);
  if (interrupting_signal() != 0) return 128 + interrupting_signal();
  if (options.json_path != "-" && (text || report->verdict != Verdict::kPass))
    fmt::print("{}{}", text ? "" : begin, to_text(*report));
  if (!options.json_path.empty() && !write_json(to_json(*report), options.json_path))
    return complain(fmt::format("cannot write {}", options.json_path), kExitFailed);
  if (!verification.missed_kill().empty()) return complain(verification.missed_kill(), kExitFailed);
  return exit_status(report->verdict);
}

int list_stores() {
  for (const auto& store : stores())
    fmt::print("{}\t{}\t{}\n", store.name, store.good ? "good" : "bad", store.description);
  return kExitPass;
}

}  // namespace crashgate::harness
