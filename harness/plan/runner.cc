#include "harness/plan/runner.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "faultinject/turns.h"
#include "harness/clock.h"
#include "harness/plan/leftovers.h"
#include "harness/plan/scratch_directory.h"
#include "harness/plan/stuck_process.h"
#include "harness/plan/tree_walk.h"
#include "harness/plan/worker.h"

namespace crashgate::harness {
namespace {

constexpr pid_t kReaped = 0;

// With something foreign in its way a store may wait for ever, or go round for ever: a process that
// sleeps on a file at so many looks, a tenth of a second apart, or has used so much of a processor,
// is not waited for. Operations on small roots take milliseconds.
constexpr int kMostLooks = 3;
constexpr auto kMostProcessorTime = std::chrono::seconds(1);

// The end of a child is told by SIGCHLD, which is blocked while a run lasts and waited for with a
// time limit: a descriptor for each child, polled, takes three times as long.
class ChildSignal {
 public:
  ChildSignal() {
    ::sigemptyset(&signal_);
    ::sigaddset(&signal_, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &signal_, &before_);
  }
  ChildSignal(const ChildSignal&) = delete;
  ChildSignal& operator=(const ChildSignal&) = delete;
  ~ChildSignal() { restore(); }

  void restore() const { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  // Returns no later than at the deadline; maybe sooner without cause, since in a process with
  // threads another one may take the signal.
  void wait(Clock::time_point deadline) const {
    const auto left = std::clamp<std::chrono::nanoseconds>(
        deadline - Clock::now(), std::chrono::nanoseconds(0), std::chrono::milliseconds(100));
    const timespec limit{0, static_cast<long>(left.count())};
    ::sigtimedwait(&signal_, nullptr, &limit);
  }

 private:
  sigset_t signal_;
  sigset_t before_;
};

void die_with_parent(pid_t parent_as_seen) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent_as_seen) ::_exit(1);
}

// With equal process ids: a namespace's init, which forks the process under test as number 2, waits
// for it, and writes down how it ended. Init itself would survive a SIGKILL that it sends to
// itself.
[[noreturn]] void be_init(const WorkerContext& context) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const pid_t pid = ::fork();
  if (pid == 0) {
    run_process(context);
    ::_exit(0);
  }
  int status = -1;
  if (pid > 0) ::waitpid(pid, &status, 0);
  context.shared->logs[context.process].wait_status = status;
  ::_exit(0);
}

Result<pid_t> start(const WorkerContext& context, const ChildSignal& signal,
                    void (*run)(const WorkerContext&) = run_process) {
  if (context.history->plan.same_process_ids) {
    const auto pid = static_cast<pid_t>(
        ::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, 0));
    if (pid < 0) return tl::unexpected(error_from_errno(errno, "clone(CLONE_NEWPID)", ""));
    if (pid > 0) return pid;
    signal.restore();
    be_init(context);
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return tl::unexpected(error_from_errno(errno, "fork", ""));
  if (pid > 0) return pid;
  die_with_parent(parent);
  signal.restore();
  run(context);
  ::_exit(0);
}

void reset(SharedRun& shared) {
  auto& page = shared.page;
  const std::size_t used =
      std::min<std::uint64_t>(page.record_count.load(), faultinject::kMaxCallRecords);
  std::fill_n(page.records.begin(), used, faultinject::CallRecord{});
  for (auto& counter : page.row_calls) counter = 0;
  for (auto& counter : page.rule_matches) counter = 0;
  for (auto& counter : page.rule_actions) counter = 0;
  page.kills_survived = 0;
  page.record_count = 0;
  page.magic = faultinject::kPageMagic;
  page.version = faultinject::kPageVersion;
  shared.stamp = 0;
  for (auto& log : shared.logs) {
    if (!log.ran) continue;
    static_cast<ProcessState&>(log) = ProcessState{};
    log.events[0] = Event{};  // says why the setup failed even where the opening did not begin
    for (auto& event : log.events) {
      if (event.outcome != Outcome::kNotBegun) event = Event{};
    }
  }
}

// Calls `visit` with each component of a relative path.
template <typename Visit>
void for_each_component(std::string_view path, Visit visit) {
  for (std::size_t begin = 0; begin <= path.size();) {
    const auto end = std::min(path.find('/', begin), path.size());
    visit(path.substr(begin, end - begin));
    begin = end + 1;
  }
}

// Temporaries have random names, which say nothing: a component that no key has counts as "*".
std::uint64_t hash_tree(const std::string& root, const std::vector<std::string>& keys) {
  std::set<std::string_view> components;
  for (const auto& key : keys)
    for_each_component(key, [&](std::string_view component) { components.insert(component); });
  std::uint64_t sum = 0;  // of the entries' hashes: order does not matter
  walk_tree(root, [&](const TreeEntry& entry) {
    std::string text;
    for_each_component(entry.path, [&](std::string_view component) {
      text += components.contains(component) ? component : "*";
      text += '/';
    });
    if (entry.type == DT_REG) text += content_of(entry);
    sum += XXH3_64bits(text.data(), text.size());
  });
  return sum;
}

// A small tmpfs over a directory, for plans that run out of space. In a mount namespace of this
// process's own, so that it is gone with the process, however that ends.
class SmallDisk {
 public:
  static Result<SmallDisk> mount(const std::string& directory, std::uint64_t size) {
    static const bool private_namespace =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!private_namespace)
      return tl::unexpected(error_from_errno(EPERM, "unshare(CLONE_NEWNS)", ""));
    const std::string options = "mode=0700,size=" + std::to_string(size);
    if (::mount("crashgate", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) !=
        0) {
      return tl::unexpected(error_from_errno(errno, "mount tmpfs", directory));
    }
    return SmallDisk(directory);
  }
  SmallDisk(SmallDisk&& other) noexcept : directory_(std::exchange(other.directory_, {})) {}
  SmallDisk& operator=(SmallDisk&&) = delete;
  ~SmallDisk() {
    if (!directory_.empty()) ::umount2(directory_.c_str(), MNT_DETACH);
  }

 private:
  explicit SmallDisk(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace

struct Runner::State {
  const StoreEntry* store = nullptr;
  std::string directory;  // where roots are made
  SharedRun* shared = nullptr;
  std::uint64_t runs = 0;
  const ChildSignal* child_signal = nullptr;  // of the run under way

  ~State() {
    if (shared != nullptr) ::munmap(shared, sizeof(SharedRun));
  }

  // Waits until all of `children` have ended; the turn that a dead one held is passed on once it is
  // reaped.
  void reap(std::vector<pid_t> children, std::uint32_t first_process, bool with_turns,
            Clock::time_point deadline, History& history) {
    int looks = 0;
    for (std::size_t left = children.size(); left > 0;) {
      child_signal->wait(deadline);
      for (std::size_t i = 0; i < children.size(); ++i) {
        int status = 0;
        if (children[i] == kReaped || ::waitpid(children[i], &status, WNOHANG) != children[i])
          continue;
        const auto process = first_process + static_cast<std::uint32_t>(i);
        auto& log = shared->logs[process];
        if (!history.plan.same_process_ids) log.wait_status = status;
        log.end_stamp = ++shared->stamp;
        if (with_turns) faultinject::turns_pass_on_after_death(shared->page.turns, process);
        children[i] = kReaped;
        --left;
      }
      if (left == 1 && !history.plan.foreign.empty()) {
        const pid_t last = *std::ranges::max_element(children);
        looks = sleeps_on_a_file(last) ? looks + 1 : 0;
        if (looks == kMostLooks || processor_time(last) > kMostProcessorTime) history.stuck = true;
      }
      if (left == 0 || (!history.stuck && Clock::now() < deadline)) continue;
      history.timed_out = true;
      for (const pid_t child : children) {
        if (child != kReaped) ::kill(child, SIGKILL);
      }
      deadline = Clock::now() + std::chrono::seconds(10);
    }
  }

  void start_turns(const Plan& plan) {
    auto& turns = shared->page.turns;
    turns.preemption_count = static_cast<std::uint32_t>(plan.preemptions.size());
    for (std::size_t i = 0; i < plan.preemptions.size(); ++i) {
      turns.preemptions[i] = {plan.preemptions[i].step, plan.preemptions[i].process};
    }
    faultinject::turns_start(turns, static_cast<std::uint32_t>(plan.workers.size()));
  }

  // The setup in a process of its own, and then the recording.
  Result<void> begin_recording(const RunOptions& options, const std::string& root,
                               Clock::time_point deadline, History& history) {
    const auto child = start({store, &history, shared, root, 0}, *child_signal, run_setup);
    if (!child) return tl::unexpected(child.error());
    reap({*child}, 0, false, deadline, history);
    if (options.before_recording) options.before_recording(root);
    if (auto begun = options.session->begin(root); !begun)
      return tl::unexpected(Error{ErrorCode::kIo, 0, "record", begun.error().message});
    return {};
  }

  Result<void> run_workers(const std::string& root, Clock::time_point deadline,
                           const RunOptions& options, History& history) {
    auto* log = options.session != nullptr ? &options.session->log() : nullptr;
    start_turns(history.plan);
    std::vector<pid_t> children;
    for (std::uint32_t process = 0; process < history.plan.workers.size(); ++process) {
      const auto child = start(
          {store, &history, shared, root, process, log, options.disk_stamp, options.after_record},
          *child_signal);
      if (!child) {
        for (const pid_t started : children) ::kill(started, SIGKILL);
        reap(std::move(children), 0, true, deadline, history);
        return tl::unexpected(child.error());
      }
      children.push_back(*child);
    }
    reap(std::move(children), 0, true, deadline, history);
    return {};
  }

  Result<void> run_survivors(const std::string& root, Clock::time_point deadline,
                             History& history) {
    const std::uint32_t first = static_cast<std::uint32_t>(history.plan.workers.size());
    const std::uint32_t count = survivor_count(history.plan);
    for (std::uint32_t process = first; process < first + count && !history.timed_out; ++process) {
      const auto child = start({store, &history, shared, root, process}, *child_signal);
      if (!child) return tl::unexpected(child.error());
      reap({*child}, process, false, deadline, history);
      if (!WIFSIGNALED(shared->logs[process].wait_status)) break;
    }
    return {};
  }

  void collect(History& history) {
    const auto& page = shared->page;
    const auto total = page.record_count.load();
    const auto kept = std::min<std::uint64_t>(total, faultinject::kMaxCallRecords);
    history.calls.assign(page.records.begin(),
                         page.records.begin() + static_cast<std::ptrdiff_t>(kept));
    history.lost_calls = total - kept;
    history.deadlocked = page.turns.deadlocked != 0;
    history.kills_survived = page.kills_survived;
    for (std::size_t process = 0; process < shared->logs.size() && shared->logs[process].ran;
         ++process) {
      const auto& log = shared->logs[process];
      const auto operations =
          operations_of(history.plan, history.survivor, static_cast<std::uint32_t>(process)).size();
      auto& ended = history.processes.emplace_back(ProcessHistory{
          log,
          {log.events.begin(), log.events.begin() + 1 + static_cast<std::ptrdiff_t>(operations)}});
      bool killed = false;
      for (auto& event : ended.events) {
        if (event.outcome == Outcome::kNotBegun) continue;
        if (event.outcome == Outcome::kPending)
          event.last_record = static_cast<std::uint32_t>(kept);
        for (auto i = event.first_record; i < event.last_record && i < kept; ++i) {
          if (history.calls[i].process != process) continue;
          ++event.calls;
          killed = killed || history.calls[i].injected >= faultinject::Injected::kKillBefore;
        }
      }
      history.kills_begun += killed ? 1 : 0;
      if (killed && WIFSIGNALED(log.wait_status) && WTERMSIG(log.wait_status) == SIGKILL)
        ++history.kills;
    }
  }
};

Runner::Runner(std::unique_ptr<State> state) : state_(std::move(state)) {}
Runner::Runner(Runner&&) noexcept = default;
Runner& Runner::operator=(Runner&&) noexcept = default;
Runner::~Runner() = default;

Result<Runner> Runner::create(const StoreEntry& store, std::string directory) {
  void* mapping =
      ::mmap(nullptr, sizeof(SharedRun), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return tl::unexpected(error_from_errno(errno, "mmap", "shared page"));
  auto state = std::make_unique<State>();
  state->store = &store;
  state->directory = std::move(directory);
  state->shared = new (mapping) SharedRun;
  return Runner(std::move(state));
}

Result<History> Runner::run(const Plan& plan, const RunOptions& options) {
  auto history = run_once(plan, options);
  if (history && history->timed_out && !history->stuck) history = run_once(plan, options);
  return history;
}

Result<History> Runner::run_once(const Plan& plan, const RunOptions& options) {
  auto& state = *state_;
  const ChildSignal child_signal;
  state.child_signal = &child_signal;
  History history;
  history.plan = plan;
  history.survivor = survivor_operations(plan);
  history.keys = keys_of(plan);
  history.payloads = payloads_of(plan, history.survivor, survivor_count(plan));
  reset(*state.shared);

  const std::string place = state.directory + "/" + std::to_string(state.runs++);
  const std::string root = plan.foreign.empty() ? place : place + "/root";
  if (::mkdir(place.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", place));
  struct RemovePlace {
    const std::string& path;
    ~RemovePlace() { (void)remove_tree(path); }
  } remove_place{place};
  if (root != place && ::mkdir(root.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", root));

  std::optional<SmallDisk> disk;
  if (plan.disk_size != 0) {
    auto mounted = SmallDisk::mount(root, plan.disk_size);
    if (!mounted) return tl::unexpected(mounted.error());
    disk.emplace(std::move(*mounted));
  }

  if (!plan.foreign.empty()) {
    if (auto placed = place_foreign_objects(root, plan.foreign); !placed)
      return tl::unexpected(placed.error());
  }

  const auto deadline = Clock::now() + options.timeout;
  if (options.session != nullptr) {
    if (auto begun = state.begin_recording(options, root, deadline, history); !begun)
      return tl::unexpected(begun.error());
  }
  if (auto ran = state.run_workers(root, deadline, options, history); !ran)
    return tl::unexpected(ran.error());
  if (options.hash_crash_tree) history.crash_tree_hash = hash_tree(root, history.keys);
  if (options.at_crash) options.at_crash(root);
  if (!history.timed_out && options.survivors) {
    if (auto ran = state.run_survivors(root, deadline, history); !ran)
      return tl::unexpected(ran.error());
  }
  state.collect(history);
  history.leftovers = find_leftovers(root, history.keys);
  if (!plan.foreign.empty()) history.foreign_damage = damage_to_foreign_objects(root, plan.foreign);
  return history;
}

std::string why_no_pid_namespaces() {
  const auto pid = static_cast<pid_t>(
      ::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (pid == 0) ::_exit(0);
  if (pid < 0) return "clone(CLONE_NEWPID): " + std::generic_category().message(errno);
  ::waitpid(pid, nullptr, 0);
  return "";
}

std::string why_no_small_disk() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(::unshare(CLONE_NEWNS) == 0 ? 0 : errno);
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid)
    return "fork: " + std::generic_category().message(errno);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return "unshare(CLONE_NEWNS): " + std::generic_category().message(WEXITSTATUS(status));
}

}  // namespace crashgate::harness
