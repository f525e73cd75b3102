// The judge of `crashgate check`: materializes a crash state where the workload had its directory,
// and asks the user's checker.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "faultinject/trace.h"
#include "harness/check/checker.h"
#include "harness/check/workload.h"
#include "harness/crash_state/crash_exploration.h"

namespace crashgate::harness {

struct StateCheckerOptions {
  std::string
      scratch;  // an existing directory for what the checker is shown; the caller's to remove
  CheckerOptions checker;
  /// What the checker is shown as told, of every state; nullopt: what the trace says.
  std::optional<std::string> told = {};
};

/// For one job process: it gets a mount namespace of its own where the machine allows it, so that
/// the state stands at trace.directory; else the state's path is another. One at a time. `name`
/// tells its files in `scratch` from those of others. `trace` must outlive the judge. The
/// judge's InvalidArgument: the checker cannot be run even on the directory as the workload left
/// it.
Result<StateJudge> make_state_checker(const faultinject::Trace& trace,
                                      const StateCheckerOptions& options, const std::string& name);

/// A crash state's recovery, recorded where the state stood.
struct RecordedRecovery {
  bool accepted = false;  // it succeeded, and so did the checker after it
  faultinject::Recording recording;
};
using RecoveryRecorder = std::function<Result<RecordedRecovery>(const CrashState& state)>;

/// As make_state_checker. `recovery`: how it is recorded; its directory, scratch directory and
/// environment are ours.
Result<RecoveryRecorder> make_recovery_recorder(const faultinject::Trace& trace,
                                                StateCheckerOptions options,
                                                const WorkloadOptions& recovery,
                                                const std::string& name);

}  // namespace crashgate::harness
