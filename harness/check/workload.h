// The commands of `crashgate check` that change the directory: the setup, which is only run, and
// the workload, which is recorded.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "faultinject/recording.h"
#include "store/error.h"

namespace crashgate::harness {

enum class Recorder : std::uint8_t {
  kPtrace,   // complete
  kPreload,  // fast; what a preloaded library cannot see makes the verdict inconclusive
};

struct WorkloadOptions {
  std::string command;                   // for /bin/sh -c
  std::string directory;                 // absolute, there: working directory, CRASHGATE_DIR
  std::string scratch;                   // an existing directory; the caller's to remove
  std::vector<std::string> environment;  // "NAME=value", added to ours
  std::vector<std::string> ignored;      // globs of disposable files
  Recorder recorder = Recorder::kPtrace;
  bool terminal = false;  // standard output is one
  bool stacks = false;
  std::chrono::milliseconds time_limit{0};  // then all is killed; 0: none
  std::function<void()> watch;              // called ten times a second meanwhile; empty: not
  const std::atomic<std::uint64_t>* disk_stamp = nullptr;  // as in RecordOptions
  std::function<void()> after_event;                       // likewise
};

/// In this process. The error's code is InvalidArgument where the command cannot be run.
Result<faultinject::Recording> record(const WorkloadOptions& options);

/// In a process of its own, so that all that the workload started dies with that, whatever becomes
/// of us. nullopt: interrupted.
Result<std::optional<faultinject::Recording>> record_apart(const WorkloadOptions& options);

/// Why a recording may not be all that happened, each in one line: calls that cannot be modelled,
/// what the recorder knows that it did not see, a tree that is not as predicted.
std::vector<std::string> doubts_about(const faultinject::Trace& trace);

/// How a command ended that was not recorded; standard output went to standard error.
struct CommandEnd {
  int exit_status = 0;
  int signal = 0;
  bool timed_out = false;
  std::vector<std::string> left_behind;  // commands of processes that outlived it, and were killed
};
CommandEnd end_of(const faultinject::Recording& recording);
/// In a process of its own, too. nullopt: interrupted.
Result<std::optional<CommandEnd>> run_apart(const WorkloadOptions& options);

/// "the workload ended with exit status 1"; "": it ended well. `what`: "the workload".
std::string what_went_wrong(std::string_view what, const CommandEnd& end,
                            std::chrono::milliseconds limit);

}  // namespace crashgate::harness
