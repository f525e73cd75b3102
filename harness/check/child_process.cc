#include "harness/check/child_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "store/directory_entries.h"
#include "store/system_call.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;

// What the child needs and what it reports: it shares our memory until it executes the program.
struct Launch {
  const ChildSpec& spec;
  sigset_t signal_mask;
  int errno_value = 0;
  const char* failed_call = "";
};

// In the child: async-signal-safe calls only, and nothing that touches libc's state.
int be_child(void* argument) {
  Launch& launch = *static_cast<Launch*>(argument);
  const ChildSpec& spec = launch.spec;
  const auto give_up = [&](const char* call) {
    launch.errno_value = errno;
    launch.failed_call = call;
    ::_exit(127);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  if (spec.finds_no_devices && ::unshare(CLONE_NEWNS) == 0 &&
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) {
    ::mount("crashgate", "/sys/block", "tmpfs", 0, nullptr);
  }
  if (spec.directory != nullptr && ::chdir(spec.directory) != 0) give_up("chdir");
  // Our descriptors are all above 2.
  if (::dup2(spec.standard_input, STDIN_FILENO) < 0 ||
      ::dup2(spec.standard_output, STDOUT_FILENO) < 0 ||
      ::dup2(spec.standard_error, STDERR_FILENO) < 0) {
    give_up("dup2");
  }
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD, SIGALRM})
    ::sigaction(signal, &action, nullptr);
  ::sigprocmask(SIG_SETMASK, &launch.signal_mask, nullptr);
  ::execve(spec.program, spec.arguments, spec.environment);
  if (errno == ENOEXEC) ::execve("/bin/sh", spec.shell_arguments, spec.environment);
  give_up("execve");
  return 127;
}

// Parent of a process, from /proc: what stands behind the last parenthesis is `state ppid`.
pid_t parent_of(int proc, const std::string& pid) {
  const UniqueFd file(::openat(proc, (pid + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> buffer;
  const ssize_t count = file ? ::read(file.get(), buffer.data(), buffer.size()) : 0;
  if (count <= 0) return -1;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(count));
  const auto end = text.rfind(')');
  if (end == std::string_view::npos || end + 4 > text.size()) return -1;
  pid_t parent = -1;
  std::from_chars(text.data() + end + 4, text.data() + text.size(), parent);
  return parent;
}

}  // namespace

ChildProcess start(const ChildSpec& spec) {
  // One stack for all: the child has left it when clone() returns.
  static void* const stack = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  ChildProcess child;
  if (stack == MAP_FAILED) {
    child.errno_value = ENOMEM;
    child.failed_call = "mmap";
    return child;
  }
  Launch launch{spec, {}};
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &launch.signal_mask);  // no handler of ours runs in the child
  const sigset_t mask = launch.signal_mask;
  ::sigemptyset(&launch.signal_mask);
  int descriptor = -1;
  child.pid = ::clone(be_child, static_cast<char*>(stack) + kStackBytes,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &launch, &descriptor);
  const int clone_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  if (child.pid < 0) {
    child.errno_value = clone_errno;
    child.failed_call = "clone";
    return child;
  }
  child.descriptor = UniqueFd(descriptor);
  if (launch.errno_value != 0) {
    reap(child);
    child.pid = -1;
    child.errno_value = launch.errno_value;
    child.failed_call = launch.failed_call;
  }
  return child;
}

int reap(const ChildProcess& child) {
  int status = 0;
  retry_interrupted([&] { return ::waitpid(child.pid, &status, __WALL); });
  return status;
}

std::vector<pid_t> children_of_this_process() {
  std::vector<pid_t> children;
  siginfo_t info;
  if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 && errno == ECHILD)
    return children;
  const UniqueFd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!proc) return children;
  (void)for_each_entry(proc.get(), [&](const DirectoryEntry& entry) -> Result<void> {
    pid_t pid = -1;
    const auto* end = entry.name.data() + entry.name.size();
    if (std::from_chars(entry.name.data(), end, pid).ptr == end && pid > 0 &&
        parent_of(proc.get(), entry.name) == ::getpid()) {
      children.push_back(pid);
    }
    return {};
  });
  std::ranges::sort(children);
  return children;
}

void kill_children_except(const std::vector<pid_t>& kept) {
  for (;;) {
    std::vector<pid_t> strays;
    std::ranges::set_difference(children_of_this_process(), kept, std::back_inserter(strays));
    if (strays.empty()) return;
    for (const pid_t pid : strays) ::kill(pid, SIGKILL);
    // Their children are ours once they are dead: hence again.
    for (const pid_t pid : strays)
      retry_interrupted([&] { return ::waitpid(pid, nullptr, __WALL); });
  }
}

}  // namespace crashgate::harness
