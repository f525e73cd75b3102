// One crash state of a recorded disk after the other, as it is found after the crash: made, mounted
// where the workload had its directory (the file system recovers), looked at, unmounted.
//
// For a process in a mount namespace of its own. Not thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "faultinject/trace.h"
#include "harness/disk/disk_materializer.h"
#include "harness/disk/disk_recording.h"
#include "harness/disk/work_mount.h"
#include "store/error.h"

namespace crashgate::harness {

/// A directory tree with the bytes of its files.
struct RecoveredTree {
  faultinject::Trace bytes;  // holds nothing else
  faultinject::Snapshot snapshot;
};

class RecoveredDisk {
 public:
  /// `recording` must outlive it. `pieces`: of the enumerator of the states; likewise.
  static Result<RecoveredDisk> create(const DiskRecording& recording,
                                      const std::vector<DiskPiece>& pieces);

  /// What is wrong with the file system, in one line; empty: nothing, and the state is mounted at
  /// directory(). What was mounted before must have been unmounted. An error: the machine's or
  /// ours. `crashed` is shown the disk before the file system recovers; may be null.
  Result<std::string> mount(
      const DiskState& state,
      const std::function<Result<void>(const DiskImage& image)>& crashed = {});
  /// EBUSY where somebody still uses the file system: it stays mounted, and may be tried again.
  Result<void> unmount();
  /// As check_file_system; not while it is mounted.
  Result<std::string> check() const;

  const std::string& directory() const { return recording_->trace.directory; }
  bool is_mounted() const { return mount_.has_value(); }

 private:
  RecoveredDisk(const DiskRecording& recording, DiskMaterializer materializer)
      : recording_(&recording), materializer_(std::move(materializer)) {}

  const DiskRecording* recording_;
  DiskMaterializer materializer_;
  std::optional<WorkMount> mount_;
};

/// The tree at `directory`, without what the globs declare disposable. An error: it cannot be read
/// whole.
Result<RecoveredTree> read_recovered_tree(const std::string& directory,
                                          const std::vector<std::string>& ignored = {});

}  // namespace crashgate::harness
