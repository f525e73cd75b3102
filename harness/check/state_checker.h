// The judge of `crashgate check`: materializes a crash state where the workload had its directory,
// and asks the user's checker.
#pragma once

#include <string>

#include "faultinject/trace.h"
#include "harness/check/checker.h"
#include "harness/crash_state/crash_exploration.h"

namespace crashgate::harness {

struct StateCheckerOptions {
  std::string
      scratch;  // an existing directory for what the checker is shown; the caller's to remove
  CheckerOptions checker;
};

/// For one job process: it gets a mount namespace of its own where the machine allows it, so that
/// the state stands at trace.directory; else the state's path is another. Once per process. `name`
/// tells its files in `scratch` from those of other jobs. `trace` must outlive the judge. The
/// judge's InvalidArgument: the checker cannot be run even on the directory as the workload left
/// it.
Result<StateJudge> make_state_checker(const faultinject::Trace& trace,
                                      const StateCheckerOptions& options, const std::string& name);

}  // namespace crashgate::harness
