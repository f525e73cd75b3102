// What is asked of a recorder of whole programs, and what it answers: the same for
// ptrace_recorder.h and preload_recorder.h.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
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
  bool stacks = false;                                  // of every event (the ptrace recorder only)
  /// Absolute, there: where the preload recorder keeps its log, in a directory that it removes,
  /// unless it is killed. Empty: in memory if possible.
  std::string log_directory;
  /// The stamp of the recorded disk that the directory is on; null: there is none (the ptrace
  /// recorder only).
  const std::atomic<std::uint64_t>* disk_stamp = nullptr;
  /// Called after each storage event, while the thread that made the call still stands at its
  /// return (the ptrace recorder only). In a thread of the recorder's; an exception ends the
  /// recording.
  std::function<void()> after_event = {};
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
  /// Standard output, not a terminal, came in one piece after all storage events: acknowledgements
  /// that came too late to test anything.
  bool output_only_at_exit = false;
};

/// Whether all acknowledgements of the trace come after all its storage events, several lines of
/// them at once: they waited in a buffer. One line at the end is as it should be.
bool told_only_at_exit(const Trace& trace);

}  // namespace crashgate::faultinject
