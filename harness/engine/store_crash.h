// A store's run whose power can be cut: the recording of a plan, and the judge of its crash states.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "faultinject/recording_session.h"
#include "harness/crash_state/crash_exploration.h"
#include "harness/plan/crash_survivor.h"
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

/// The session that this thread's recordings use, made at the first call in a process.
Result<faultinject::RecordingSession*> recording_session();

/// Lets survivors look at a store's directory, and asks the oracle.
class StoreOracle {
 public:
  /// `history` must outlive it. `told`: all acknowledgements. `root`: the store's directory.
  static Result<StoreOracle> create(const StoreEntry& store, const History& history,
                                    std::string told, const std::string& root);
  /// `acknowledgement_end`: of what had been told.
  Result<Judgement> judge(std::size_t acknowledgement_end);

 private:
  StoreOracle(const History& history, std::string told, CrashSurvivor survivor)
      : history_(&history), told_(std::move(told)), survivor_(std::move(survivor)) {}

  const History* history_;
  std::string told_;
  CrashSurvivor survivor_;
};

/// The judge of a saved case: the store's name, the plan, and what the workers were told.
nlohmann::json to_json(const StoreEntry& store, const History& history);
/// Without trace. Throws nlohmann::json::exception where `json` is something else.
Result<History> history_from_json(const nlohmann::json& json);

}  // namespace crashgate::harness
