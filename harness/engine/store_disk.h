// A store's run on a recorded disk, and the judge of what file systems recover of it.
#pragma once

#include <optional>
#include <string>

#include "harness/disk/disk_exploration.h"
#include "harness/plan/history.h"
#include "harness/store_under_test.h"

namespace crashgate::harness {

/// The store's root is below the work directory of the disk: disk.trace.directory.
struct StoreDiskRecording {
  History history;  // the workers' part
  DiskRecording disk;
};

/// Runs a plan (no faults) on a recorded disk; what its setup did is durable when the recording
/// begins. Null: the setup failed, which is for other engines to report. For a process in a mount
/// namespace of its own. `work_directory`: there and empty. `scratch`: an existing directory.
Result<std::optional<StoreDiskRecording>> record_plan_on_disk(
    const StoreEntry& store, const Plan& plan, const FileSystemChoice& choice,
    NeighbourKind neighbour, const std::string& work_directory, const std::string& scratch);

/// `recording` must outlive the subject.
DiskSubject subject_of(const StoreEntry& store, const StoreDiskRecording& recording);

/// Into `directory`, which is there and empty; and back.
Result<void> write_store_recording(const StoreEntry& store, const StoreDiskRecording& recording,
                                   const std::string& directory);
Result<StoreDiskRecording> read_store_recording(const FileSystemChoice& choice,
                                                NeighbourKind neighbour,
                                                const std::string& work_directory,
                                                const std::string& directory);

}  // namespace crashgate::harness
