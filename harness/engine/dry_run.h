// Undisturbed runs, which tell an engine what storage calls there are to disturb.
#pragma once

#include <string>
#include <vector>

#include "harness/engine/exploration.h"

namespace crashgate::harness {

struct DryRun {
  std::vector<History> histories;  // one a plan, in order
  Tally tally;                     // a store may fail undisturbed, too
};

/// Runs each plan once, in the calling process's own children.
Result<DryRun> dry_run(const StoreEntry& store, const std::vector<Plan>& plans,
                       const std::string& directory);

}  // namespace crashgate::harness
