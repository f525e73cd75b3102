// Runs a program and all that it starts to their end, without ptrace: a process between us and the
// program adopts whatever loses its parent, so nothing of the tree escapes.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

struct SupervisedProgram {
  std::vector<std::string> command;      // argv; searched for in PATH
  std::vector<std::string> environment;  // "NAME=value", in addition to or in place of ours
  std::string directory;                 // working directory
  int standard_output = -1;
  std::optional<std::chrono::milliseconds> time_limit;  // then all is killed
  /// Called in the child right before it becomes the program.
  std::function<void()> before_exec;
};

struct SupervisedEnd {
  int wait_status = 0;  // of the program
  bool timed_out = false;
  /// Commands of processes that outlived the program by more than a moment, and were killed.
  std::vector<std::string> left_behind;
};

/// The program runs in a session of its own, with /dev/null as standard input. Its death, and that
/// of all that it starts, follows that of the calling thread. A program that cannot be found or
/// run, and a directory that is none, are bad_input. Thread-safe, but no other thread may wait for
/// any child (waitpid of -1) meanwhile.
tl::expected<SupervisedEnd, TraceError> run_supervised(const SupervisedProgram& program);

}  // namespace crashgate::faultinject
