#include "harness/plan/crash_survivor.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "harness/plan/leftovers.h"
#include "harness/plan/worker.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

// The process that runs survivors: one for each byte that it is sent, which it sends back.
struct Server {
  pid_t pid = -1;
  UniqueFd socket;

  Server() = default;
  Server(Server&& other) noexcept
      : pid(std::exchange(other.pid, -1)), socket(std::move(other.socket)) {}
  Server& operator=(Server&& other) noexcept {
    std::swap(pid, other.pid);
    std::swap(socket, other.socket);
    return *this;
  }
  ~Server() { stop(); }

  // Kills it, if it has not ended by itself; its wait status.
  int stop() {
    int status = 0;
    if (pid < 0) return status;
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid = -1;
    return status;
  }
};

[[noreturn]] void serve(const WorkerContext& context, int socket) {
  char request = 0;
  while (::read(socket, &request, 1) == 1) {
    run_process(context);
    if (::write(socket, &request, 1) != 1) break;
  }
  ::_exit(0);
}

// What was known of a worker when the power went: an answer that had not come yet is none.
ProcessHistory cut(ProcessHistory process, std::uint32_t returned) {
  for (std::size_t i = returned; i < process.events.size(); ++i) {
    auto& event = process.events[i];
    if (event.outcome == Outcome::kNotBegun) continue;
    const auto begin = event.begin;
    event = Event{};
    if (i > returned) continue;
    event.outcome = Outcome::kPending;
    event.begin = begin;
  }
  return process;
}

}  // namespace

struct CrashSurvivor::State {
  const StoreEntry* store = nullptr;
  const History* recorded = nullptr;
  std::string root;
  std::chrono::milliseconds timeout;
  SharedRun* shared = nullptr;
  std::uint64_t stamp = 0;  // the recorded run's last
  Server server;

  ~State() {
    server.stop();
    if (shared != nullptr) ::munmap(shared, sizeof(SharedRun));
  }

  std::uint32_t process() const {
    return static_cast<std::uint32_t>(recorded->plan.workers.size());
  }
  ProcessLog& log() const { return shared->logs[process()]; }

  Result<void> start() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return tl::unexpected(error_from_errno(errno, "socketpair", ""));
    server.socket = UniqueFd(ends[0]);
    const UniqueFd theirs(ends[1]);
    const pid_t parent = ::getpid();
    server.pid = ::fork();
    if (server.pid < 0) return tl::unexpected(error_from_errno(errno, "fork", ""));
    if (server.pid > 0) return {};
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    server.socket = UniqueFd();
    serve({store, recorded, shared, root, process()}, theirs.get());
  }

  // 0: answered; else a wait status, with `timed_out` where the survivor hung.
  Result<int> ask(bool& timed_out) {
    if (server.pid < 0) {
      if (auto started = start(); !started) return tl::unexpected(started.error());
    }
    char byte = 0;
    pollfd polled{server.socket.get(), POLLIN, 0};
    if (::send(server.socket.get(), &byte, 1, MSG_NOSIGNAL) == 1) {
      int ready = 0;
      do {
        ready = ::poll(&polled, 1, static_cast<int>(timeout.count()));
      } while (ready < 0 && errno == EINTR);
      timed_out = ready == 0;
      if (ready > 0 && ::read(server.socket.get(), &byte, 1) == 1) return 0;
    }
    return server.stop();
  }
};

CrashSurvivor::CrashSurvivor(std::unique_ptr<State> state) : state_(std::move(state)) {}
CrashSurvivor::CrashSurvivor(CrashSurvivor&&) noexcept = default;
CrashSurvivor& CrashSurvivor::operator=(CrashSurvivor&&) noexcept = default;
CrashSurvivor::~CrashSurvivor() = default;

Result<CrashSurvivor> CrashSurvivor::create(const StoreEntry& store, const History& recorded,
                                            std::string root, std::chrono::milliseconds timeout) {
  void* mapping =
      ::mmap(nullptr, sizeof(SharedRun), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return tl::unexpected(error_from_errno(errno, "mmap", "shared page"));
  auto state = std::make_unique<State>();
  state->store = &store;
  state->recorded = &recorded;
  state->root = std::move(root);
  state->timeout = timeout;
  state->shared = new (mapping) SharedRun;
  state->shared->page.magic = faultinject::kPageMagic;
  state->shared->page.version = faultinject::kPageVersion;
  for (const auto& process : recorded.processes)
    state->stamp = std::max(state->stamp, process.end_stamp);
  return CrashSurvivor(std::move(state));
}

Result<History> CrashSurvivor::look(const std::vector<std::uint32_t>& returned) {
  auto& state = *state_;
  const auto& recorded = *state.recorded;
  state.log() = ProcessLog{};
  state.shared->page.record_count = 0;
  state.shared->stamp = state.stamp;

  History history;
  history.plan = recorded.plan;
  history.survivor = recorded.survivor;
  history.keys = recorded.keys;
  history.payloads = recorded.payloads;
  for (std::size_t worker = 0; worker < recorded.plan.workers.size(); ++worker)
    history.processes.push_back(cut(recorded.processes[worker], returned[worker]));

  auto status = state.ask(history.timed_out);
  if (!status) return tl::unexpected(status.error());
  const auto& log = state.log();
  auto& survivor = history.processes.emplace_back(ProcessHistory{
      log,
      {log.events.begin(), log.events.begin() + 1 + static_cast<long>(history.survivor.size())}});
  survivor.wait_status = *status;
  survivor.end_stamp = ++state.shared->stamp;
  for (auto& event : survivor.events) event.first_record = event.last_record = 0;
  if (survivor.leaked_descriptor) state.server.stop();
  history.leftovers = find_leftovers(state.root, history.keys);
  return history;
}

}  // namespace crashgate::harness
