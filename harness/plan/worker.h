// The life of one process under test: open the store, do its operations under the shim, write each
// answer down.
#pragma once

#include <string>

#include "faultinject/recording_log.h"
#include "harness/plan/history.h"
#include "harness/store_under_test.h"

namespace crashgate::harness {

struct WorkerContext {
  const StoreEntry* store = nullptr;
  const History* history =
      nullptr;  // the plan and what is derived from it; nothing has happened yet
  SharedRun* shared = nullptr;
  std::string root;
  std::uint32_t process = 0;                 // workers from 0, then survivors
  faultinject::RecordingLog* log = nullptr;  // where a worker's operations are recorded; null: not
  const std::atomic<std::uint64_t>* disk_stamp = nullptr;  // as for start_recording
  faultinject::AfterRecord after_record = {};              // likewise
};

/// Does the plan's setup in the calling process, which is forked for it, as process 0: where it is
/// to be over before a recording begins. Else process 0 does it first of all.
void run_setup(const WorkerContext& context);

/// What a recorded worker tells the world when an operation returns; 0 is its opening.
std::string acknowledgement_of(std::uint32_t process, std::size_t operation);

/// Runs to the end in the calling process, which the caller has forked for it and exits afterwards
/// with `_exit(0)`. Workers take turns; survivors do not. Does not return where the plan kills the
/// process.
void run_process(const WorkerContext& context);

}  // namespace crashgate::harness
