#include "harness/engine/job_processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "harness/check/child_process.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr int kWatchInterval = 100;  // milliseconds

bool write_all(int fd, const std::vector<std::uint8_t>& bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno != EINTR) return false;
    if (count > 0) written += static_cast<std::size_t>(count);
  }
  return true;
}

[[noreturn]] void be_job(unsigned job, const std::function<nlohmann::json(unsigned)>& body,
                         int pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  nlohmann::json answer;
  try {
    answer = {{"answer", body(job)}};
  } catch (const std::exception& exception) {
    answer = {{"error", exception.what()}};
  }
  ::_exit(write_all(pipe, nlohmann::json::to_cbor(answer)) ? 0 : 1);
}

// What a job has started must not outlive it, and a job that is killed cannot see to that: so each
// has a keeper, to which its orphans come. The keeper ends with its job, when it is told to
// (kStop), or when we die, by SIGKILL too; it kills first what is left.
constexpr int kStop = SIGUSR1;

[[noreturn]] void keep_job(unsigned job, const std::function<nlohmann::json(unsigned)>& body,
                           int pipe, pid_t parent) {
  sigset_t awaited;
  sigset_t mask;
  ::sigemptyset(&awaited);
  ::sigaddset(&awaited, kStop);
  ::sigaddset(&awaited, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &awaited, &mask);
  ::signal(SIGINT, SIG_IGN);  // a terminal's Ctrl-C reaches the whole group; the parent stops us
  const auto on_terminate = ::signal(SIGTERM, SIG_IGN);  // may likewise
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_PDEATHSIG, kStop);
  if (::getppid() != parent) ::_exit(1);
  const pid_t kept = ::fork();
  if (kept == 0) {
    ::signal(SIGTERM, on_terminate);
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    be_job(job, body, pipe);
  }
  ::close(pipe);
  for (bool runs = kept > 0; runs;) {
    if (::sigwaitinfo(&awaited, nullptr) == kStop) break;
    for (pid_t ended = 0; (ended = ::waitpid(-1, nullptr, WNOHANG)) > 0;)
      runs = runs && ended != kept;
  }
  kill_children_except({});
  ::_exit(0);
}

struct JobProcess {
  pid_t pid = -1;  // of its keeper
  UniqueFd pipe;
  std::vector<std::uint8_t> answer;
};

// Kills those that are left, at the end of the list's life.
struct JobProcesses {
  std::vector<JobProcess> list;
  ~JobProcesses() {
    for (auto& job : list) {
      if (job.pid < 0) continue;
      ::kill(job.pid, kStop);
      while (::waitpid(job.pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  }
};

// Reads the answers to their end. False: `watch` wants no more.
bool gather(std::vector<JobProcess>& jobs, const std::function<bool()>& watch) {
  std::vector<pollfd> polled;
  for (const auto& job : jobs) polled.push_back({job.pipe.get(), POLLIN, 0});
  std::size_t open = jobs.size();
  std::array<std::uint8_t, 65536> buffer;
  while (open > 0) {
    ::poll(polled.data(), polled.size(), kWatchInterval);
    if (!watch()) return false;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || (polled[i].revents & (POLLIN | POLLHUP)) == 0) continue;
      const ssize_t count = ::read(polled[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        jobs[i].answer.insert(jobs[i].answer.end(), buffer.begin(), buffer.begin() + count);
      } else if (count == 0 || errno != EINTR) {
        polled[i].fd = -1;
        --open;
      }
    }
  }
  return true;
}

}  // namespace

Result<std::optional<std::vector<nlohmann::json>>> run_jobs(
    unsigned count, const std::function<nlohmann::json(unsigned job)>& body,
    const std::function<bool()>& watch) {
  JobProcesses jobs;
  jobs.list.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(error_from_errno(errno, "pipe2", ""));
    jobs.list[i].pipe = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    const pid_t parent = ::getpid();
    jobs.list[i].pid = ::fork();
    if (jobs.list[i].pid == 0) keep_job(i, body, write_end.get(), parent);
    if (jobs.list[i].pid < 0) return tl::unexpected(error_from_errno(errno, "fork", ""));
  }
  if (!gather(jobs.list, watch)) return std::nullopt;
  std::vector<nlohmann::json> answers;
  for (const auto& job : jobs.list) {
    const auto answer = nlohmann::json::from_cbor(job.answer, true, false);
    if (answer.is_discarded() || !answer.is_object()) {
      return tl::unexpected(Error{ErrorCode::kIo, 0, "a job ended without a report", ""});
    }
    if (answer.contains("error")) {
      return tl::unexpected(
          Error{ErrorCode::kIo, 0, "a job failed", answer.at("error").get<std::string>()});
    }
    answers.push_back(answer.at("answer"));
  }
  return answers;
}

}  // namespace crashgate::harness
