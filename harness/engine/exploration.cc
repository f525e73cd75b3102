#include "harness/engine/exploration.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"
#include "store/unique_fd.h"

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

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

bool write_all(int fd, const std::vector<std::uint8_t>& bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno != EINTR) return false;
    if (count > 0) written += static_cast<std::size_t>(count);
  }
  return true;
}

// The life of a job process: units until there are none; then the tally, or what went wrong, as
// CBOR.
[[noreturn]] void be_job(const StoreEntry& store, std::uint64_t unit_count,
                         const std::function<void(Job&, std::uint64_t)>& unit,
                         const ExploreOptions& options, const std::string& directory,
                         Clock::time_point started, Progress& progress, int pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGINT,
           SIG_IGN);  // a terminal's Ctrl-C reaches the whole group; the parent stops us in order
  nlohmann::json report;
  try {
    auto runner = ::mkdir(directory.c_str(), 0700) == 0
                      ? Runner::create(store, directory)
                      : Result<Runner>(tl::unexpected(error_from_errno(errno, "mkdir", directory)));
    if (!runner) {
      report = {{"error", to_string(runner.error())}};
    } else {
      Job job(std::move(*runner), started, &progress.runs, &progress.states);
      while (!job.error() && !job.hangs() && Clock::now() < options.deadline &&
             progress.runs < options.run_limit) {
        const auto index = progress.next_unit++;
        if (index >= unit_count) break;
        job.begin_unit(index);
        unit(job, index);
        ++progress.units_done;
      }
      report = job.error() ? nlohmann::json{{"error", to_string(*job.error())}}
                           : nlohmann::json{{"tally", to_json(job.tally())}};
    }
  } catch (const std::exception& exception) {
    report = {{"error", exception.what()}};
  }
  ::_exit(write_all(pipe, nlohmann::json::to_cbor(report)) ? 0 : 1);
}

struct JobProcess {
  pid_t pid = -1;
  UniqueFd pipe;
  std::vector<std::uint8_t> report;
};

void stop(std::vector<JobProcess>& jobs) {
  for (auto& job : jobs) {
    if (job.pid < 0) continue;
    ::kill(job.pid, SIGKILL);
    while (::waitpid(job.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    job.pid = -1;
  }
}

// Reads the jobs' reports to their end, showing progress meanwhile. False: interrupted.
bool gather(std::vector<JobProcess>& jobs, const Progress& progress, std::uint64_t unit_count,
            const ExploreOptions& options) {
  std::vector<pollfd> polled;
  for (const auto& job : jobs) polled.push_back({job.pipe.get(), POLLIN, 0});
  std::size_t open = jobs.size();
  std::array<std::uint8_t, 65536> buffer;
  while (open > 0) {
    ::poll(polled.data(), polled.size(), 100);
    if (interrupting_signal() != 0) return false;
    if (options.progress) options.progress(progress.runs, progress.units_done, unit_count);
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || (polled[i].revents & (POLLIN | POLLHUP)) == 0) continue;
      const ssize_t count = ::read(polled[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        jobs[i].report.insert(jobs[i].report.end(), buffer.begin(), buffer.begin() + count);
      } else if (count == 0 || errno != EINTR) {
        polled[i].fd = -1;
        --open;
      }
    }
  }
  return true;
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

  std::vector<JobProcess> jobs(std::max(1u, options.jobs));
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      stop(jobs);
      return tl::unexpected(error_from_errno(errno, "pipe2", ""));
    }
    jobs[i].pipe = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    jobs[i].pid = ::fork();
    if (jobs[i].pid == 0)
      be_job(store, unit_count, unit, options, prefix + std::to_string(i), started,
             *mapping.progress, write_end.get());
    if (jobs[i].pid < 0) {
      stop(jobs);
      return tl::unexpected(error_from_errno(errno, "fork", ""));
    }
  }

  Exploration exploration;
  exploration.interrupted = !gather(jobs, *mapping.progress, unit_count, options);
  stop(jobs);
  if (exploration.interrupted) return exploration;
  for (const auto& job : jobs) {
    try {
      const auto report = nlohmann::json::from_cbor(job.report);
      if (report.contains("error"))
        return tl::unexpected(Error{ErrorCode::kIo, 0, "a job failed", report.at("error")});
      exploration.tally.add(tally_from_json(report.at("tally")));
    } catch (const std::exception& exception) {
      return tl::unexpected(
          Error{ErrorCode::kIo, 0, "a job ended without a report", exception.what()});
    }
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
