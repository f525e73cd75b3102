// Runs a plan: forks the workers, makes them take turns as planned, kills and disturbs them through
// the shim, then lets survivors open the store, recover and look at everything.
//
// One plan gives one run, call by call, whatever else the machine does: turns decide who runs when,
// and random numbers are determined (random_numbers.h). It takes a store whose calls depend on
// nothing but the answers that it gets; and a file system that answers the same each time, the
// order of directory entries included.
//
// Each worker and survivor is a process of its own. The store's code runs only there; the caller's
// process is never at risk. Whatever way a run ends, its processes are dead and its directory is
// gone when run() returns. Not thread-safe: one Runner per process, since it reaps children and
// owns the shared mapping.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "faultinject/recording_session.h"
#include "harness/plan/history.h"
#include "harness/plan/plan.h"
#include "harness/store_under_test.h"

namespace crashgate::harness {

struct RunOptions {
  std::chrono::milliseconds timeout{5000};  // for all processes of a run together; see run
  bool hash_crash_tree = false;             // fill History::crash_tree_hash
  std::function<void(const std::string& root)> at_crash =
      {};  // called when the workers have ended, before survivors; again where the run is repeated
  faultinject::RecordingSession* session = nullptr;  // begun once the setup is done; null: none
  bool survivors = true;
  // With a session, on a recorded disk:
  std::function<void(const std::string& root)> before_recording = {};  // once the setup is done
  const std::atomic<std::uint64_t>* disk_stamp = nullptr;              // as for start_recording
  faultinject::AfterRecord after_record = {};                          // likewise
};

class Runner {
 public:
  /// Every run has its root in `directory`, which the caller owns and which must outlive the
  /// Runner.
  static Result<Runner> create(const StoreEntry& store, std::string directory);
  Runner(Runner&&) noexcept;
  Runner& operator=(Runner&&) noexcept;
  ~Runner();

  /// An error only where the harness itself failed (fork, mapping, directory); everything else is
  /// in the History. A run that does not end in time is repeated once before it counts as a hang:
  /// it may have been the machine that stood still. Where the plan has foreign objects, a process
  /// that is seen to be stuck is a hang at once. There the root is beside a directory "outside".
  Result<History> run(const Plan& plan, const RunOptions& options = {});

 private:
  struct State;
  Result<History> run_once(const Plan& plan, const RunOptions& options);
  explicit Runner(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Whether this machine lets us give two processes the same process id, or mount a small disk (both
/// need CAP_SYS_ADMIN). Empty: yes, else why not.
std::string why_no_pid_namespaces();
std::string why_no_small_disk();

}  // namespace crashgate::harness
