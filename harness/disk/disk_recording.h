// Runs a workload on a recorded disk: makes the file system, sets it up, mounts it on the recorded
// disk, lets the workload go, and takes both recordings.
//
// What reaches the disk depends on when the kernel writes back, and an undisturbed short workload
// sees nothing of that: its data would stay in memory for seconds. So there is a *neighbour*:
// somebody else on the same file system, whose calls commit what the workload has done so far. It
// needs no clock, and one recording always gives the same calls.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "faultinject/disk/block_trace.h"
#include "faultinject/trace.h"
#include "harness/disk/disk_image.h"
#include "harness/disk/file_system.h"
#include "store/error.h"

namespace crashgate::harness {

enum class Neighbour : std::uint8_t {
  kNone,        // nobody; at the end of the workload all is written back (syncfs)
  kCommits,     // fsyncs a file of its own after every storage call: metadata goes to the disk, the
                // workload's data does not
  kWritesBack,  // starts writing back the workload's data after every storage call
};

/// The tree of a disk's file system that the workload works in: not the root, which may hold
/// lost+found.
inline constexpr char kWorkDirectory[] = "work";

struct DiskRecording {
  FileSystemChoice choice;
  Neighbour neighbour = Neighbour::kNone;
  DiskImage base;                  // before the workload, unmounted; what the setup left is on it
  faultinject::BlockTrace blocks;  // from the mount on
  std::uint64_t first_stamp = 0;   // of the workload
  faultinject::Trace trace;        // of the workload; its events have disk stamps
};

/// What a workload is given: the directory to work in, on the recorded disk; and the disk's stamp,
/// for its recorder. What it gives back is the trace.
struct DiskWorkload {
  std::string directory;  // where the file system's work directory is bound; absolute
  std::function<Result<void>(const std::string& directory)> set_up;
  std::function<Result<faultinject::Trace>(const std::string& directory,
                                           const std::atomic<std::uint64_t>& stamp,
                                           const std::function<void()>& after_event)>
      run;
};

/// For a process in a mount namespace of its own. `scratch`: an existing private directory.
Result<DiskRecording> record_on_disk(const FileSystemChoice& choice, Neighbour neighbour,
                                     const std::string& scratch, const DiskWorkload& workload);

}  // namespace crashgate::harness
