// A store's run whose power can be cut: the recording of a plan, and the judge of its crash states.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/crash_state/crash_exploration.h"
#include "harness/plan/history.h"
#include "harness/store_under_test.h"

namespace crashgate::harness {

/// One undisturbed run, recorded. Its acknowledgements are the operations that returned.
struct StoreRecording {
  History history;  // the workers' part
  faultinject::Trace trace;
};

/// Runs a plan (no faults) in `directory` and records it from the end of its setup on.
Result<StoreRecording> record_plan(const StoreEntry& store, const Plan& plan,
                                   const std::string& directory);

/// Makes each state in `directory` (which must not exist), lets a survivor look at it, and asks the
/// oracle. `recording` must outlive the judge; the directory goes with it.
Result<StateJudge> make_store_judge(const StoreEntry& store, const StoreRecording& recording,
                                    const std::string& directory);

/// The judge of a saved case: the store's name, the plan, and what the workers were told.
nlohmann::json to_json(const StoreEntry& store, const StoreRecording& recording);
/// Without trace. Throws nlohmann::json::exception where `json` is something else.
Result<History> history_from_json(const nlohmann::json& json);

}  // namespace crashgate::harness
