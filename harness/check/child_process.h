// Starts one program without copying our memory, and makes sure that nothing of it is left.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "store/unique_fd.h"

namespace crashgate::harness {

struct ChildSpec {
  const char* program = nullptr;           // path, for execve
  char* const* arguments = nullptr;        // null-terminated
  char* const* shell_arguments = nullptr;  // for /bin/sh, where the kernel knows no such format
  char* const* environment = nullptr;      // null-terminated
  const char* directory = nullptr;         // to work in; null: ours
  int standard_input = -1;
  int standard_output = -1;
  int standard_error = -1;
  bool finds_no_devices = false;  // /sys/block is empty for it, where we may do that
};

/// A running child. `descriptor` becomes readable when it has ended. What was not begun has pid -1,
/// and `errno_value` and `failed_call` say why.
struct ChildProcess {
  pid_t pid = -1;
  UniqueFd descriptor;
  int errno_value = 0;
  const char* failed_call = "";
};

/// The child leads a process group, has default signal handling, no descriptors but the three, and
/// is killed when the calling thread ends.
ChildProcess start(const ChildSpec& spec);

/// Waits for it. Its wait status.
int reap(const ChildProcess& child);

/// The children of this process, ascending. Without any, which is the common case, one system call.
std::vector<pid_t> children_of_this_process();

/// Kills and reaps all children but the `kept` (ascending), and theirs as they come to us.
void kill_children_except(const std::vector<pid_t>& kept);

}  // namespace crashgate::harness
