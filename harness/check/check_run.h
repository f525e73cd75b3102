// `crashgate check` from end to end: set up, record, explore, judge, report. DESIGN.md has the
// contract of the three commands.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "harness/check/check_report.h"
#include "harness/check/checker.h"
#include "harness/check/workload.h"
#include "harness/crash_state/persistence_model.h"
#include "harness/disk/file_system.h"
#include "store/error.h"

namespace crashgate::harness {

struct CheckOptions {
  std::string setup;                                    // empty: none
  std::string workload;                                 // for /bin/sh -c
  std::chrono::milliseconds workload_timeout{600'000};  // for setup and workload, each; 0: none
  Recorder recorder = Recorder::kPtrace;
  CheckerOptions checker;
  std::vector<const PersistenceModel*> models;
  /// Names of models, "disk:ext4" and so on included; findings under others are only reported.
  /// Empty: all count.
  std::vector<std::string> fail_on;
  std::vector<FileSystemChoice> disks;        // for the disk engine; empty: it is not wanted
  bool check_file_system = false;             // of each disk state: fsck
  std::vector<std::string> required_engines;  // skipping them makes the run inconclusive
  std::vector<std::string> ignored;           // globs of disposable files
  Basis basis;
  std::uint64_t seed = 1;
  double budget_seconds = 60;     // 0: no limit but the state limit
  std::uint64_t state_limit = 0;  // of each model; 0: none
  unsigned jobs = 1;
  bool terminal = false;  // the workload's standard output is one
  bool stacks = false;
  std::string out = ".crashgate";
  std::string command;  // the command line, for the report
  std::function<void(std::string_view stage, std::uint64_t count, std::string_view unit)> progress =
      {};
};

/// One of the user's commands, as the options have it; without a `watch`.
WorkloadOptions workload_options(const CheckOptions& options, const std::string& command,
                                 const std::string& directory, const std::string& scratch);

/// InvalidArgument: bad input, a workload or a checker that does not do its part; anything else:
/// crashgate or the machine failed. Whatever way it ends, nothing of it is left but the cases.
Result<CheckReport> run_check(const CheckOptions& options);

}  // namespace crashgate::harness
