#include "harness/command_line/doctor_command.h"

#include <fmt/format.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <string_view>
#include <system_error>

#include "faultinject/disk/recorded_disk.h"
#include "faultinject/shim_command.h"
#include "harness/check/state_view.h"
#include "harness/command_line/exit_status.h"
#include "harness/disk/file_system.h"
#include "harness/engine/job_processes.h"
#include "harness/plan/runner.h"
#include "harness/plan/scratch_directory.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

std::string text_of(int errno_value) {
  return std::generic_category().message(errno_value);
}

// A container's seccomp profile often refuses ptrace.
std::string why_no_ptrace() {
  const pid_t pid = ::fork();
  if (pid < 0) return "fork: " + text_of(errno);
  if (pid == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(errno);
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(pid, &status, WUNTRACED) != pid) return "waitpid: " + text_of(errno);
  if (!WIFSTOPPED(status)) return "ptrace(PTRACE_TRACEME): " + text_of(WEXITSTATUS(status));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, &status, 0);
  // Asks whether the kernel has filters that can stop a tracee: EOPNOTSUPP where it has not.
  const std::uint32_t action = SECCOMP_RET_TRACE;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
    return "seccomp(SECCOMP_GET_ACTION_AVAIL): " + text_of(errno);
  return "";
}

std::string why_no_shim() {
  const auto library = faultinject::find_shim_library();
  return library ? "" : library.error().message;
}

std::string why_no_private_view() {
  const auto scratch = ScratchDirectory::create();
  if (!scratch) return to_string(scratch.error());
  const auto body = [&](unsigned) -> nlohmann::json {
    const auto view = StateView::create(scratch->path());
    return view ? "" : to_string(view.error());
  };
  const auto answer = run_jobs(1, body, [] { return true; });
  return answer ? (*answer)->front().get<std::string>() : to_string(answer.error());
}

struct Need {
  std::string_view name;
  std::string_view what_for;
  std::string (*why_not)();
  bool essential;  // without it there is little to run
};

constexpr Need kNeeds[] = {
    {"shim library", "crashgate shim", why_no_shim, false},
    {"ptrace and seccomp", "check: records any program", why_no_ptrace, true},
    {"private mounts", "check: a crash state stands where the workload's directory was",
     why_no_private_view, false},
    {"process-id namespaces", "verify: two processes of one process id", why_no_pid_namespaces,
     false},
    {"small disks", "verify: a full disk", why_no_small_disk, false},
    {"devices", "verify: a device where an object should be", why_no_devices, false},
    {"recorded disks", "verify, check --disk, litmus: real file systems",
     faultinject::why_no_recorded_disk, false},
};

void print(std::string_view name, std::string_view what_for, const std::string& why_not) {
  fmt::print("  {:<22} {:<4} {}{}\n", name, why_not.empty() ? "yes" : "no", what_for,
             why_not.empty() ? "" : "; " + why_not);
}

}  // namespace

int doctor() {
  struct utsname machine;
  ::uname(&machine);
  fmt::print("crashgate {} on {} {} {}\n", kVersion, machine.sysname, machine.release,
             machine.machine);
  int status = kExitPass;
  for (const auto& need : kNeeds) {
    const auto why_not = need.why_not();
    print(need.name, need.what_for, why_not);
    if (need.essential && !why_not.empty()) status = kExitInconclusive;
  }
  for (const auto& file_system : file_systems())
    print(file_system.name, "a file system on them", why_no_file_system(file_system));
  return status;
}

}  // namespace crashgate::harness
