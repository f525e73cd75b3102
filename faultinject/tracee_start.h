// Starts a program that the calling thread traces from its first instruction, under the filter of
// syscall_filter.h.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

struct StartOptions {
  const std::vector<std::string>& command;      // argv; the program is searched for in PATH
  const std::vector<std::string>& environment;  // "NAME=value", in place of what we have
  const std::string& directory;                 // working directory
  int standard_output = -1;
  bool fixed_addresses = false;  // one program's code lies at the same place in every process
};

/// The program is returned as it stands stopped at the end of its exec: what the child did before
/// is not the program's. It has a process group of its own, and /dev/null as standard input. (Not a
/// session of its own: the scheduler would share the processors between it and its tracer as
/// between strangers, which makes every stop two to three times as long where others want them
/// too.) Its death, and that of all that it starts, follows that of the calling thread. A program
/// that cannot be found or run, and a directory that is none, are bad_input.
tl::expected<pid_t, TraceError> start_traced(const StartOptions& options);

}  // namespace crashgate::faultinject
