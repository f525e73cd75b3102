#include "faultinject/tracee_start.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "faultinject/program_environment.h"
#include "faultinject/syscall_filter.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {
namespace {

constexpr long kOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                          PTRACE_O_TRACEEXIT | PTRACE_O_TRACEFORK | PTRACE_O_TRACESECCOMP |
                          PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEVFORK;

/// What the child tells when it cannot become the program.
struct Failure {
  enum Step { kDirectory, kDescriptors, kFilter, kExec } step;
  int error;
};

/// The child's side; only async-signal-safe calls.
[[noreturn]] void become(const StartOptions& options, char* const* arguments,
                         char* const* variables, const std::vector<sock_filter>& filter, int go,
                         int report) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char byte = 0;
  if (read(go, &byte, 1) != 1) _exit(1);  // the tracer is there; or it is gone
  prctl(PR_SET_PDEATHSIG, 0);             // from here on it is the tracer's exit that kills

  Failure failure = {Failure::kDirectory, 0};
  const auto fail = [&](Failure::Step step, int error) {
    failure = {step, error};
    [[maybe_unused]] const ssize_t written = write(report, &failure, sizeof failure);
    _exit(1);
  };
  // "kill 0" is common in scripts, and must not reach us; nor is the program to be stopped for
  // touching our terminal from the background.
  setsid();
  for (int number = 1; number < NSIG; ++number) {
    if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (chdir(options.directory.c_str()) != 0) fail(Failure::kDirectory, errno);
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
      dup2(options.standard_output, STDOUT_FILENO) < 0) {
    fail(Failure::kDescriptors, errno);
  }
  if (null > STDERR_FILENO) close(null);
  if (options.fixed_addresses) personality(ADDR_NO_RANDOMIZE);
  if (const int error = install_syscall_filter(filter); error != 0) fail(Failure::kFilter, error);
  execvpe(arguments[0], arguments, variables);
  fail(Failure::kExec, errno);
  _exit(1);
}

}  // namespace

tl::expected<pid_t, TraceError> start_traced(const StartOptions& options) {
  const auto failed = [](std::string what, int error, bool bad_input = false) {
    return tl::unexpected(TraceError{std::move(what) + ": " + std::strerror(error), bad_input});
  };
  if (options.command.empty()) return tl::unexpected(TraceError{"no program to run", true});
  std::vector<std::string> words = options.command;
  std::vector<std::string> merged = merged_environment(options.environment);
  const std::vector<char*> arguments = pointers(words), variables = pointers(merged);
  const std::vector<sock_filter> filter = syscall_filter();

  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return failed("pipe", errno);
  UniqueFd go_here(ends[1]), go_there(ends[0]);
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return failed("pipe", errno);
  UniqueFd report_here(ends[0]), report_there(ends[1]);

  const pid_t child = fork();
  if (child < 0) return failed("fork", errno);
  if (child == 0) {
    go_here.reset();
    become(options, arguments.data(), variables.data(), filter, go_there.get(), report_there.get());
  }
  go_there.reset();
  report_there.reset();
  if (ptrace(PTRACE_SEIZE, child, nullptr, kOptions) != 0) {
    const int error = errno;
    kill(child, SIGKILL);
    waitpid(child, nullptr, __WALL);
    return failed("cannot trace a program (ptrace) on this machine", error);
  }
  [[maybe_unused]] const ssize_t written = write(go_here.get(), "g", 1);

  // The child stops at its own traced calls and at its exec until somebody lets it go on.
  while (true) {
    int status = 0;
    if (waitpid(child, &status, __WALL) < 0 && errno != EINTR) return failed("waitpid", errno);
    if (WIFEXITED(status) || WIFSIGNALED(status)) break;
    if (!WIFSTOPPED(status)) continue;
    if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) return child;
    const int signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
    ptrace(PTRACE_CONT, child, nullptr, static_cast<long>(signal));
  }
  Failure failure = {Failure::kExec, 0};
  if (read(report_here.get(), &failure, sizeof failure) != sizeof failure) {
    return tl::unexpected(TraceError{options.command[0] + ": ended before it ran"});
  }
  switch (failure.step) {
    case Failure::kDirectory:
      return failed(options.directory, failure.error, true);
    case Failure::kDescriptors:
      return failed("cannot set up the program's descriptors", failure.error);
    case Failure::kFilter:
      return failed("cannot install a system call filter (seccomp) on this machine", failure.error);
    default:
      return failed(options.command[0], failure.error, true);
  }
}

}  // namespace crashgate::faultinject
