// Looks at the crash states of a recorded disk, each after its file system has recovered.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "harness/crash_state/directory_tree.h"
#include "harness/disk/disk_recording.h"
#include "harness/disk/disk_state_enumerator.h"
#include "store/error.h"

namespace crashgate::harness {

struct RecoveredStates {
  std::uint64_t states = 0;       // of the disk, made and recovered
  std::uint64_t unmountable = 0;  // ... of which the file system would not be mounted
  std::uint64_t unreadable = 0;   // ... or the tree not be read
  std::string example;            // what the first of these said
  std::uint64_t crash_points = 0;
  bool exhaustive = false;
};

/// Calls `look` with each recovered tree, which is valid until it returns, and with the bytes of
/// acknowledgements that had been told by then. Ends early at the deadline.
///
/// For a process in a mount namespace of its own.
Result<RecoveredStates> look_at_recovered_states(
    const DiskRecording& recording, const DiskEnumerationOptions& options,
    std::chrono::steady_clock::time_point deadline,
    const std::function<void(const DirectoryTree& tree, std::size_t acknowledged)>& look);

}  // namespace crashgate::harness
