// The supervisor is forked from a process that may have threads, which the C library's fork allows
// for what is used here; it tells what became of the program through a pipe.
#include "faultinject/supervisor.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "faultinject/program_environment.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// For what the program leaves running, to end by itself.
constexpr milliseconds kGrace{200};

/// What the supervisor tells first; the names of processes left behind follow, each with a NUL.
struct Report {
  enum Step { kRan, kFork, kDirectory, kDescriptors, kExec } step = kRan;
  int error = 0;
  int wait_status = 0;
  bool timed_out = false;
};

/// The program's process, until it is the program. Failures go through `failed`.
[[noreturn]] void become(const SupervisedProgram& program, char* const* arguments,
                         char* const* variables, int failed) {
  const auto fail = [&](Report::Step step) {
    const Report report{step, errno};
    [[maybe_unused]] const ssize_t written = write(failed, &report, sizeof report);
    _exit(1);
  };
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  for (int number = 1; number < NSIG; ++number) {
    if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir(program.directory.c_str()) != 0) fail(Report::kDirectory);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
      dup2(program.standard_output, STDOUT_FILENO) < 0) {
    fail(Report::kDescriptors);
  }
  if (program.before_exec) program.before_exec();
  execvpe(arguments[0], arguments, variables);
  fail(Report::kExec);
  _exit(1);
}

/// The living children of this process, adopted ones too.
std::vector<pid_t> living_children() {
  std::vector<pid_t> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(opendir("/proc"), closedir);
  while (const dirent* entry = processes ? readdir(processes.get()) : nullptr) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0) continue;
    const std::string path = std::string("/proc/") + entry->d_name + "/stat";
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                               std::fclose);
    std::array<char, 512> line{};
    if (!file || std::fgets(line.data(), line.size(), file.get()) == nullptr) continue;
    const char* rest = std::strrchr(line.data(), ')');
    char state = 0;
    pid_t parent = 0;
    if (rest == nullptr || std::sscanf(rest, ") %c %d", &state, &parent) != 2) continue;
    if (parent == getpid() && state != 'Z') found.push_back(pid);
  }
  return found;
}

std::string command_of(pid_t process) {
  const std::string path = "/proc/" + std::to_string(process) + "/comm";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             std::fclose);
  std::array<char, 64> name{'?'};
  if (file && std::fgets(name.data(), name.size(), file.get()) != nullptr) {
    name[std::strcspn(name.data(), "\n")] = '\0';
  }
  return name.data();
}

class Supervisor {
 public:
  Supervisor(pid_t program, std::optional<milliseconds> time_limit) : program_(program) {
    if (time_limit) deadline_ = Clock::now() + *time_limit;
  }

  /// Until no child is left. SIGCHLD must be blocked.
  void wait_for_all(Report& report, std::string& left_behind) {
    while (true) {
      int status = 0;
      const pid_t ended = waitpid(-1, &status, WNOHANG | __WALL);
      if (ended < 0 && errno == ECHILD) return;
      if (ended == program_) {
        report.wait_status = status;
        if (!killing_) deadline_ = Clock::now() + kGrace;
        program_ended_ = true;
      }
      if (ended > 0) {
        if (killing_) kill_children();  // it may have left us some
        continue;
      }
      if (await_child()) continue;
      if (program_ended_ && !killing_) {
        for (pid_t child : living_children()) left_behind += command_of(child) + '\0';
      }
      report.timed_out = report.timed_out || !program_ended_;
      kill_children();
    }
  }

 private:
  /// False: the deadline has come.
  bool await_child() const {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    if (!deadline_) {
      sigwaitinfo(&signals, nullptr);
      return true;
    }
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::max(*deadline_ - Clock::now(), Clock::duration::zero()));
    const timespec wait{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    return sigtimedwait(&signals, nullptr, &wait) > 0 || errno != EAGAIN;
  }

  void kill_children() {
    killing_ = true;
    deadline_ = Clock::now() + kGrace;  // once more, should it be needed
    for (pid_t child : living_children()) kill(child, SIGKILL);
  }

  pid_t program_;
  std::optional<Clock::time_point> deadline_;
  bool program_ended_ = false;
  bool killing_ = false;
};

[[noreturn]] void supervise(const SupervisedProgram& program, char* const* arguments,
                            char* const* variables, int out) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  signal(SIGCHLD, SIG_DFL);
  Report report;
  std::string left_behind;
  std::array<int, 2> ends{-1, -1};
  const pid_t pid = pipe2(ends.data(), O_CLOEXEC) == 0 ? fork() : -1;
  if (pid == 0) {
    close(ends[0]);
    become(program, arguments, variables, ends[1]);
  }
  if (pid < 0) {
    report = {Report::kFork, errno};
  } else {
    close(ends[1]);
    Report failed;
    if (read(ends[0], &failed, sizeof failed) == sizeof failed) report = failed;
    Supervisor(pid, program.time_limit).wait_for_all(report, left_behind);
  }
  std::string text(reinterpret_cast<const char*>(&report), sizeof report);
  text += left_behind;
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = write(out, text.data() + done, text.size() - done);
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  _exit(0);
}

tl::unexpected<TraceError> failure(std::string what, int error, bool bad_input = false) {
  return tl::unexpected(TraceError{std::move(what) + ": " + std::strerror(error), bad_input});
}

}  // namespace

tl::expected<SupervisedEnd, TraceError> run_supervised(const SupervisedProgram& program) {
  if (program.command.empty()) return tl::unexpected(TraceError{"no program to run", true});
  std::vector<std::string> words = program.command;
  std::vector<std::string> merged = merged_environment(program.environment);
  const std::vector<char*> arguments = pointers(words);
  const std::vector<char*> variables = pointers(merged);

  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return failure("pipe", errno);
  UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const pid_t supervisor = fork();
  if (supervisor < 0) return failure("fork", errno);
  if (supervisor == 0) supervise(program, arguments.data(), variables.data(), out.get());
  out.reset();

  std::string text;
  std::array<char, 4096> part;
  while (true) {
    const ssize_t count = read(in.get(), part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(part.data(), static_cast<std::size_t>(count));
  }
  while (waitpid(supervisor, nullptr, 0) < 0 && errno == EINTR) {
  }
  Report report;
  if (text.size() < sizeof report) {
    return tl::unexpected(TraceError{program.command[0] + ": its supervisor was killed"});
  }
  std::memcpy(&report, text.data(), sizeof report);
  switch (report.step) {
    case Report::kFork:
      return failure("fork", report.error);
    case Report::kDirectory:
      return failure(program.directory, report.error, true);
    case Report::kDescriptors:
      return failure("cannot set up the program's descriptors", report.error);
    case Report::kExec:
      return failure(program.command[0], report.error, true);
    case Report::kRan:
      break;
  }
  SupervisedEnd end{report.wait_status, report.timed_out, {}};
  for (std::size_t at = sizeof report; at < text.size();) {
    end.left_behind.emplace_back(text.c_str() + at);
    at += end.left_behind.back().size() + 1;
  }
  return end;
}

}  // namespace crashgate::faultinject
