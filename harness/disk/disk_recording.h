// Runs a workload on a recorded disk: makes the file system, sets it up, mounts it on the recorded
// disk, lets the workload go, and takes both recordings.
//
// What reaches the disk depends on when the kernel writes back, and an undisturbed short workload
// sees nothing of that: its data would stay in memory for seconds. So there is a *neighbour*
// (neighbour.h). At the end all is written back (syncfs), still recorded: that is what the machine
// would do in the next half minute.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "faultinject/disk/block_trace.h"
#include "faultinject/trace.h"
#include "harness/disk/disk_image.h"
#include "harness/disk/file_system.h"
#include "harness/disk/neighbour.h"
#include "store/error.h"

namespace crashgate::harness {

/// The tree of a disk's file system that the workload works in: not the root, which may hold
/// lost+found.
inline constexpr char kWorkDirectory[] = "work";

struct DiskRecording {
  FileSystemChoice choice;
  NeighbourKind neighbour = NeighbourKind::kNone;
  DiskImage base;                  // before the workload, unmounted; what the setup left is on it
  faultinject::BlockTrace blocks;  // from the mount on
  std::uint64_t first_stamp = 0;   // of the workload
  faultinject::Trace trace;        // of the workload; its events have disk stamps
};

/// What a workload is given: the directory to work in, on the recorded disk; the disk's stamp, for
/// its recorder; and what is to be called after each of its storage calls. What it gives back is
/// the trace. What it started must have ended by then, and after set_up too: else the file system
/// cannot be unmounted.
struct DiskWorkload {
  std::string directory;  // where the file system's work directory is bound; absolute, there
  std::function<Result<void>(const std::string& directory)> set_up;
  std::function<Result<faultinject::Trace>(const std::string& directory,
                                           const std::atomic<std::uint64_t>& stamp,
                                           const std::function<void()>& after_event)>
      run;
};

/// For a process in a mount namespace of its own. `scratch`: an existing private directory.
/// InvalidArgument: mkfs or mount do not take the options, or an error of the workload's own.
Result<DiskRecording> record_on_disk(const FileSystemChoice& choice, NeighbourKind neighbour,
                                     const std::string& scratch, const DiskWorkload& workload);

/// The same by a process of its own, which leaves the calling one its mount namespace. Null: the
/// user has interrupted it.
Result<std::optional<DiskRecording>> record_on_disk_apart(const FileSystemChoice& choice,
                                                          NeighbourKind neighbour,
                                                          const std::string& scratch,
                                                          const DiskWorkload& workload);

}  // namespace crashgate::harness
