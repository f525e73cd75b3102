// Runs many plans in several processes, and keeps what they show.
//
// An engine cuts its work into numbered units; job processes take the next unit until none is left
// or the budget is used up. What the jobs count and find comes back over pipes and is added up; the
// same units give the same sums whatever the number of jobs. Progress goes to shared memory while
// it happens.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/clock.h"
#include "harness/judge/finding.h"
#include "harness/plan/history.h"
#include "harness/plan/runner.h"

namespace crashgate::harness {

/// The first run (by unit) that showed one cause, and how many did.
struct Failure {
  Plan plan;
  Violation violation;
  std::uint64_t count = 0;
  std::uint64_t unit = 0;
};

/// What a set of runs counted and found.
struct Tally {
  std::uint64_t runs = 0;
  std::uint64_t kills = 0;
  std::uint64_t errors = 0;            // injected errors and short transfers
  std::uint64_t winners = 0;           // put_if_absent calls that succeeded
  std::uint64_t acknowledgements = 0;  // operations that returned success
  std::uint64_t planned_kills_missed = 0;
  std::string missed_kill;                  // a line about the first of them
  std::map<std::string, Failure> failures;  // by cause
  std::set<std::uint64_t> states;        // distinct pairs of tree and acknowledgements at a crash
  double seconds_to_first_failure = -1;  // since the exploration began; -1: none

  void add(const Tally& other);
};

/// Of hashes, in memory that the jobs share; lock-free. Where it is full, everything is new.
struct SharedHashSet {
  std::array<std::atomic<std::uint64_t>, 1 << 16> slots{};
  bool insert(std::uint64_t hash);  // false: it was there
};

/// One job's view: runs plans and tallies them.
class Job {
 public:
  Job(Runner runner, Clock::time_point started, std::atomic<std::uint64_t>* progress,
      SharedHashSet* states);
  /// Runs and judges; null where the harness failed, with the reason in error(). The history is
  /// valid until the next run. With `kills_expected`, as many processes as the plan has kill faults
  /// must have died of them.
  const History* run(const Plan& plan, bool kills_expected);
  const Tally& tally() const { return tally_; }
  const std::optional<Error>& error() const { return error_; }
  bool rejected() const { return rejected_; }  // the last run showed a violation
  bool hangs() const {
    return hangs_;
  }  // a run did not end in time, twice; more of them would use up the budget
  /// True for the first of all jobs to ask about the last run's state at the crash (tree and
  /// acknowledgements).
  bool is_new_state();
  void begin_unit(std::uint64_t unit) { unit_ = unit; }

 private:
  void check_kills(bool expected);

  Runner runner_;
  Clock::time_point started_;
  std::atomic<std::uint64_t>* progress_;
  SharedHashSet* states_;
  std::uint64_t state_ = 0;  // hash of the last run's state at the crash
  Tally tally_;
  History history_;
  std::uint64_t unit_ = 0;
  bool hangs_ = false;
  bool rejected_ = false;
  std::optional<Error> error_;
};

struct ExploreOptions {
  unsigned jobs = 1;
  Clock::time_point deadline = Clock::time_point::max();
  std::uint64_t run_limit = UINT64_MAX;
  std::string directory;  // for the runs' roots
  std::function<void(std::uint64_t runs, std::uint64_t units_done, std::uint64_t units)> progress =
      {};
};

struct Exploration {
  Tally tally;
  std::uint64_t units_done = 0;
  bool complete = false;  // every unit was done
  bool interrupted = false;
};

/// Explores units 0 .. unit_count - 1. `unit` is called in a job process and runs its plans there.
Result<Exploration> explore(const StoreEntry& store, std::uint64_t unit_count,
                            const std::function<void(Job&, std::uint64_t unit)>& unit,
                            const ExploreOptions& options);

/// Set by SIGINT and SIGTERM once install_interrupt_handler has been called: long work stops soon,
/// and cleans up.
void install_interrupt_handler();
int interrupting_signal();  // 0: none

}  // namespace crashgate::harness
