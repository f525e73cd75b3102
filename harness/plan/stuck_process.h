// Processes that will never end: told by what they do, not by the clock, since a busy machine makes
// every process late.
#pragma once

#include <sys/types.h>

#include <chrono>

namespace crashgate::harness {

/// Whether the process sleeps, in a way that a signal would end, in a call that opens, reads or
/// writes a file. A FIFO makes it do so until another process opens the other end; a disk does not,
/// since there it sleeps uninterruptibly (proc(5), state "D"). One look may meet a file system in
/// user space at work: a process that is stuck is so at every look. False also where /proc does not
/// tell.
bool sleeps_on_a_file(pid_t pid);

/// What the process has used of a processor; 0 where that is not known.
std::chrono::nanoseconds processor_time(pid_t pid);

}  // namespace crashgate::harness
