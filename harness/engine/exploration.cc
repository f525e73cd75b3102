#include "harness/engine/exploration.h"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "harness/engine/job_processes.h"
#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"

namespace crashgate::harness {
namespace {

volatile sig_atomic_t g_signal = 0;

struct Progress {
  std::atomic<std::uint64_t> next_unit;
  std::atomic<std::uint64_t> units_done;
  std::atomic<std::uint64_t> runs;
  SharedHashSet states;
};

struct ProgressMapping {
  Progress* progress = nullptr;
  ~ProgressMapping() {
    if (progress != nullptr) ::munmap(progress, sizeof(Progress));
  }
};

nlohmann::json to_json(const Tally& tally) {
  auto failures = nlohmann::json::array();
  for (const auto& [cause, failure] : tally.failures) {
    failures.push_back({{"cause", cause},
                        {"kind", to_string(failure.violation.kind)},
                        {"subject", failure.violation.subject},
                        {"message", failure.violation.message},
                        {"count", failure.count},
                        {"unit", failure.unit},
                        {"plan", to_json(failure.plan)}});
  }
  return {{"runs", tally.runs},
          {"kills", tally.kills},
          {"errors", tally.errors},
          {"winners", tally.winners},
          {"acknowledgements", tally.acknowledgements},
          {"missed", tally.planned_kills_missed},
          {"missed_kill", tally.missed_kill},
          {"failures", failures},
          {"states", tally.states},
          {"first", tally.seconds_to_first_failure}};
}

Tally tally_from_json(const nlohmann::json& json) {
  Tally tally;
  tally.runs = json.at("runs");
  tally.kills = json.at("kills");
  tally.errors = json.at("errors");
  tally.winners = json.at("winners");
  tally.acknowledgements = json.at("acknowledgements");
  tally.planned_kills_missed = json.at("missed");
  tally.missed_kill = json.at("missed_kill");
  tally.states = json.at("states").get<std::set<std::uint64_t>>();
  tally.seconds_to_first_failure = json.at("first");
  for (const auto& one : json.at("failures")) {
    auto plan = plan_from_json(one.at("plan"));
    if (!plan) throw std::runtime_error(to_string(plan.error()));
    const std::string cause = one.at("cause");
    const auto kind = find_finding_kind(one.at("kind").get<std::string>());
    if (!kind) throw std::runtime_error("a finding of no known kind");
    tally.failures[cause] = {std::move(*plan),
                             {*kind, one.at("message"), one.at("subject"), cause},
                             one.at("count"),
                             one.at("unit")};
  }
  return tally;
}

std::uint64_t hash_state(const History& history) {
  std::string text(reinterpret_cast<const char*>(&history.crash_tree_hash),
                   sizeof history.crash_tree_hash);
  for (std::size_t process = 0;
       process < history.plan.workers.size() && process < history.processes.size(); ++process) {
    for (std::size_t i = 0; i <= history.plan.workers[process].size(); ++i) {
      text += static_cast<char>(history.processes[process].events[i].outcome);
    }
  }
  return XXH3_64bits(text.data(), text.size());
}

// The life of a job process: units until there are none; then the tally.
nlohmann::json do_units(const StoreEntry& store, std::uint64_t unit_count,
                        const std::function<void(Job&, std::uint64_t)>& unit,
                        const ExploreOptions& options, const std::string& directory,
                        Clock::time_point started, Progress& progress) {
  if (::mkdir(directory.c_str(), 0700) != 0)
    throw std::runtime_error(to_string(error_from_errno(errno, "mkdir", directory)));
  auto runner = Runner::create(store, directory);
  if (!runner) throw std::runtime_error(to_string(runner.error()));
  Job job(std::move(*runner), started, &progress.runs, &progress.states);
  while (!job.error() && !job.hangs() && Clock::now() < options.deadline &&
         progress.runs < options.run_limit) {
    const auto index = progress.next_unit++;
    if (index >= unit_count) break;
    job.begin_unit(index);
    unit(job, index);
    ++progress.units_done;
  }
  if (job.error()) throw std::runtime_error(to_string(*job.error()));
  return to_json(job.tally());
}

}  // namespace

void Tally::add(const Tally& other) {
  runs += other.runs;
  kills += other.kills;
  errors += other.errors;
  winners += other.winners;
  acknowledgements += other.acknowledgements;
  planned_kills_missed += other.planned_kills_missed;
  if (missed_kill.empty()) missed_kill = other.missed_kill;
  states.insert(other.states.begin(), other.states.end());
  for (const auto& [cause, failure] : other.failures) {
    auto [found, inserted] = failures.emplace(cause, failure);
    if (inserted) continue;
    const auto count = found->second.count + failure.count;
    if (failure.unit < found->second.unit) found->second = failure;
    found->second.count = count;
  }
  if (other.seconds_to_first_failure >= 0 &&
      (seconds_to_first_failure < 0 || other.seconds_to_first_failure < seconds_to_first_failure)) {
    seconds_to_first_failure = other.seconds_to_first_failure;
  }
}

bool SharedHashSet::insert(std::uint64_t hash) {
  if (hash == 0) hash = 1;  // 0 marks a free slot
  for (std::size_t probe = 0; probe < slots.size(); ++probe) {
    auto& slot = slots[(hash + probe) % slots.size()];
    std::uint64_t free = 0;
    if (slot.compare_exchange_strong(free, hash)) return true;
    if (free == hash) return false;
  }
  return true;
}

Job::Job(Runner runner, Clock::time_point started, std::atomic<std::uint64_t>* progress,
         SharedHashSet* states)
    : runner_(std::move(runner)), started_(started), progress_(progress), states_(states) {}

bool Job::is_new_state() {
  return states_->insert(state_);
}

const History* Job::run(const Plan& plan, bool kills_expected) {
  const RunOptions options{.hash_crash_tree = kills_expected};
  auto history = runner_.run(plan, options);
  if (!history) {
    error_ = history.error();
    return nullptr;
  }
  history_ = std::move(*history);
  ++tally_.runs;
  ++*progress_;
  tally_.kills += history_.kills;
  hangs_ = hangs_ || history_.timed_out;
  if (kills_expected) {
    state_ = hash_state(history_);
    tally_.states.insert(state_);
  }
  for (const auto& call : history_.calls) {
    tally_.errors += call.injected == faultinject::Injected::kError ||
                             call.injected == faultinject::Injected::kShort
                         ? 1
                         : 0;
  }
  for (std::uint32_t process = 0; process < history_.processes.size(); ++process) {
    const auto& operations = operations_of(plan, history_.survivor, process);
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (history_.processes[process].events[i + 1].outcome != Outcome::kOk) continue;
      ++tally_.acknowledgements;
      tally_.winners += operations[i].kind == OperationKind::kPutIfAbsent ? 1 : 0;
    }
  }
  const auto violations = judge(history_);
  rejected_ = !violations.empty();
  check_kills(kills_expected);
  if (rejected_) {
    if (tally_.seconds_to_first_failure < 0)
      tally_.seconds_to_first_failure = seconds_since(started_);
    auto [found, inserted] = tally_.failures.try_emplace(
        violations.front().cause, Failure{plan, violations.front(), 0, unit_});
    ++found->second.count;
  }
  return &history_;
}

// A kill that did not happen would be a test that cannot fail.
void Job::check_kills(bool expected) {
  const auto& faults = history_.plan.faults;
  const auto planned = static_cast<std::uint32_t>(
      std::ranges::count_if(faults, [](const Fault& fault) { return is_kill(fault.rule.action); }));
  const auto due = expected && !rejected_ ? planned : history_.kills_begun;
  if (history_.kills >= due && history_.kills_survived == 0) return;
  if (++tally_.planned_kills_missed > 1) return;
  tally_.missed_kill = history_.kills_survived > 0 ? "a process survived its own SIGKILL"
                                                   : "the process did not end by SIGKILL: " +
                                                         faultinject::to_string(faults.back().rule);
}

Result<Exploration> explore(const StoreEntry& store, std::uint64_t unit_count,
                            const std::function<void(Job&, std::uint64_t)>& unit,
                            const ExploreOptions& options) {
  ProgressMapping mapping;
  void* memory =
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return tl::unexpected(error_from_errno(errno, "mmap", "progress"));
  mapping.progress = new (memory) Progress{};
  const auto started = Clock::now();
  ::malloc_trim(0);  // every run forks a job, and pays for each page of its heap
  static std::uint64_t explorations = 0;  // names the jobs' directories
  const auto prefix = options.directory + "/" + std::to_string(explorations++) + "-";

  const auto body = [&](unsigned job) {
    return do_units(store, unit_count, unit, options, prefix + std::to_string(job), started,
                    *mapping.progress);
  };
  const auto watch = [&] {
    if (options.progress)
      options.progress(mapping.progress->runs, mapping.progress->units_done, unit_count);
    return interrupting_signal() == 0;
  };
  auto reports = run_jobs(std::max(1u, options.jobs), body, watch);
  if (!reports) return tl::unexpected(reports.error());
  Exploration exploration;
  exploration.interrupted = !*reports;
  if (exploration.interrupted) return exploration;
  try {
    for (const auto& report : **reports) exploration.tally.add(tally_from_json(report));
  } catch (const std::exception& exception) {
    return tl::unexpected(Error{ErrorCode::kIo, 0, "a job's report", exception.what()});
  }
  exploration.units_done = mapping.progress->units_done;
  exploration.complete = exploration.units_done == unit_count;
  return exploration;
}

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { g_signal = signal; };
  ::sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

int interrupting_signal() {
  return g_signal;
}

}  // namespace crashgate::harness
