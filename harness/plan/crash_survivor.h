// Survivors of a power loss: opens the store over a crash state, recovers, looks at everything, and
// joins that to what the recorded workers had been told by then, for the oracle.
//
// The store's code runs in one process that is kept from state to state, since a fork would cost
// more than all else; it is started anew where it died, hung or left a descriptor open. Not
// thread-safe; whatever way it ends, its process is dead when it is destroyed.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "harness/plan/history.h"
#include "harness/store_under_test.h"

namespace crashgate::harness {

class CrashSurvivor {
 public:
  /// `recorded`: an undisturbed run whose trace the states come from; must outlive this. `root`:
  /// the directory in which the states are made.
  static Result<CrashSurvivor> create(const StoreEntry& store, const History& recorded,
                                      std::string root,
                                      std::chrono::milliseconds timeout = std::chrono::seconds(5));
  CrashSurvivor(CrashSurvivor&&) noexcept;
  CrashSurvivor& operator=(CrashSurvivor&&) noexcept;
  ~CrashSurvivor();

  /// `returned`: for each worker, how many of its operations had returned before the crash, its
  /// opening counted; the next one may have begun. An error only where the harness failed.
  Result<History> look(const std::vector<std::uint32_t>& returned);

 private:
  struct State;
  explicit CrashSurvivor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace crashgate::harness
