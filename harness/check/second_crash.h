// The second power loss of `check --recover`: the recovery of crash states is recorded, and cut by
// power loss as a workload is. One level deep: the recovery of what that leaves is only run.
//
// A first crash state whose recovery or checker fails is a finding already, and is left out; so is
// one whose recovery changes nothing. Where there are more states than may be recorded, the seed
// draws which. What a recovery prints promises nothing; the checker is shown what the workload had
// told by the first crash. A second crash happens under the models that allow the first.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "harness/check/crash_finding.h"
#include "harness/check/state_checker.h"
#include "harness/engine/exploration.h"

namespace crashgate::harness {

struct SecondCrashOptions {
  CrashExplorationOptions exploration;  // of the recoveries: of both crashes models, basis, seed
  StateCheckerOptions checker;
  WorkloadOptions recovery;  // how it is recorded: command, recorder, time limit
  std::uint64_t first_state_limit = UINT64_MAX;  // of the first crash's states under one model
  std::uint64_t recovery_limit = UINT64_MAX;
  Clock::time_point recording_deadline = Clock::time_point::max();
  std::function<void(std::string_view stage, std::uint64_t count, std::string_view unit)> progress =
      {};
};

/// A recovery, and the crash state that it began with: the latter as in a Rejection.
struct CutRecovery {
  std::set<std::string> models;  // that allow the state
  std::string model;             // of the example
  std::size_t crash_point = 0;
  std::size_t acknowledgement_end = 0;
  std::vector<std::uint32_t> lost;
  faultinject::Trace trace;
};

/// A finding, and the state of recoveries[rejection.subject] that shows it.
struct SecondFinding {
  Finding finding;
  Rejection rejection;
  std::vector<std::string> first_crash;  // how the recovery came about, in lines
};

struct SecondCrashes {
  std::vector<CutRecovery> recoveries;
  std::uint64_t first_states = 0;  // distinct pairs of tree and acknowledgements
  std::uint64_t recorded = 0;      // of them; those left out for good reason included
  bool all_recorded = true;
  std::set<std::string> doubts;  // of recordings, as doubts_about() gives them
  CrashExploration exploration;
  std::vector<SecondFinding> findings;
  bool interrupted = false;

  bool exhaustive() const;
};

Result<SecondCrashes> explore_second_crashes(const faultinject::Trace& trace,
                                             const SecondCrashOptions& options);

}  // namespace crashgate::harness
