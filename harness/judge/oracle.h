// The oracle: does what happened in a run honour the store's contract (store/local_file_store.h)?
//
// It keeps the expected state with pending operations: what was acknowledged must be there; what
// was under way when a process was killed, or answered Indeterminate, may or may not be; what
// failed must not be. Per key it asks whether some order of the operations explains all answers,
// the survivors' included; beside that, every answer on its own must be one that the contract
// allows, payloads whole, and nothing left behind.
#pragma once

#include <vector>

#include "harness/judge/finding.h"
#include "harness/plan/history.h"

namespace crashgate::harness {

/// Every violation of the run, most telling first; empty: the run is as it should be.
std::vector<Violation> judge(const History& history);

}  // namespace crashgate::harness
