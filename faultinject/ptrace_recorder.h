// Records a program by ptrace: complete for everything that enters the kernel by a system call -
// static and Go binaries, stdio, raw system calls, children, threads.
//
// One storage call on the recorded tree is under way at a time: a thread that comes to one while
// another's has not returned waits at its entry. So the order of events is the order of effect.
// Calls that may wait for somebody else (locks, pipes, sockets) neither wait nor make others wait.
// Reads and the like are not seen at all and run at full speed (syscall_filter.h).
//
// What it cannot see, it says: a shared writable mapping, Linux AIO and 32-bit programs become
// kUnmodelled events. io_uring is refused (ENOSYS), so that programs fall back to what can be seen.
//
// Linux 5.6 on x86-64. Without CAP_SYS_ADMIN set-user-ID programs run as the caller.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

struct RecordOptions {
  std::vector<std::string> command;  // argv; searched for in PATH
  /// Absolute, there: the recorded tree, the program's working directory, and its CRASHGATE_DIR.
  std::string directory;
  std::vector<std::string> environment;   // "NAME=value", in addition to or in place of ours
  std::vector<std::string> ignore_globs;  // see IgnoredPaths
  bool terminal = false;                  // standard output is a terminal, not a pipe
  int output_copy = -1;                   // gets a copy of standard output as it comes; -1: none
  std::optional<std::chrono::milliseconds> time_limit;  // then all is killed
};

struct Recording {
  Trace trace;
  int exit_status = 0;  // where `signal` is 0
  int signal = 0;       // that ended the program
  bool timed_out = false;
  /// Commands of processes that outlived the program, and were killed.
  std::vector<std::string> left_behind;
  /// Regular files outside the directory that were opened for writing: sorted, some dozens at most.
  std::vector<std::string> written_outside;
  bool more_written_outside = false;
  /// Standard output, not a terminal, came after all storage events: acknowledgements that test
  /// nothing.
  bool output_only_at_exit = false;
};

/// Runs the program to its end. Works in a thread of its own, and forks from it; any number of
/// recordings may run at once, but no two of one directory. SIGCHLD must not be ignored, and no
/// other thread may wait for any child (waitpid of -1) meanwhile.
tl::expected<Recording, TraceError> record_with_ptrace(const RecordOptions& options);

}  // namespace crashgate::faultinject
