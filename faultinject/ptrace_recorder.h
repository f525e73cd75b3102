// Records a program by ptrace: complete for everything that enters the kernel by a system call -
// static and Go binaries, stdio, raw system calls, children, threads.
//
// One storage call on the recorded tree is under way at a time: a thread that comes to one while
// another's has not returned waits at its entry. So the order of events is the order of effect.
// Calls that may wait for somebody else (locks, pipes, sockets) neither wait nor make others wait.
// Reads and the like are not seen at all and run at full speed (syscall_filter.h).
//
// What it cannot see, it says: a shared writable mapping and 32-bit programs become kUnmodelled
// events. Of Linux AIO it records what each request did (aio_calls.cc). io_uring is refused
// (ENOSYS), so that programs fall back to what can be seen.
//
// Linux 5.6 on x86-64. Without CAP_SYS_ADMIN set-user-ID programs run as the caller.
#pragma once

#include "faultinject/recording.h"

namespace crashgate::faultinject {

/// Runs the program to its end. Works in a thread of its own, and forks from it; any number of
/// recordings may run at once, but no two of one directory. SIGCHLD must not be ignored, and no
/// other thread may wait for any child (waitpid of -1) meanwhile.
tl::expected<Recording, TraceError> record_with_ptrace(const RecordOptions& options);

}  // namespace crashgate::faultinject
