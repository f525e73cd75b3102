#include "harness/plan/stuck_process.h"

#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

namespace crashgate::harness {
namespace {

constexpr long kFileCalls[] = {SYS_open, SYS_openat, SYS_openat2, SYS_creat,
                               SYS_read, SYS_readv,  SYS_write,   SYS_writev};

// One line.
std::string read_proc(pid_t pid, const char* name) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/" + name);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

// proc_pid_stat(5): the state follows the name, which is in brackets and may hold any character.
// proc_pid_syscall(5): the number of the call comes first, or "running".
bool sleeps_on_a_file(pid_t pid) {
  const auto stat = read_proc(pid, "stat");
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos || stat.compare(name_end, 3, ") S") != 0) return false;
  const auto call = read_proc(pid, "syscall");
  return std::ranges::any_of(
      kFileCalls, [&](long number) { return call.starts_with(std::to_string(number) + " "); });
}

std::chrono::nanoseconds processor_time(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return {};
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

}  // namespace crashgate::harness
