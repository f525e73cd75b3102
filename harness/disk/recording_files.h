// A recording on disk as files, to bring it from one process to another on this machine. Not to be
// kept: a saved case has all that it needs.
#pragma once

#include <string>

#include "harness/disk/disk_recording.h"
#include "store/error.h"

namespace crashgate::harness {

/// Into `directory`, which is there and empty.
Result<void> write_recording(const DiskRecording& recording, const std::string& directory);

/// `choice` and `neighbour`: those of the recording, which the caller knows.
Result<DiskRecording> read_recording(const FileSystemChoice& choice, NeighbourKind neighbour,
                                     const std::string& directory);

}  // namespace crashgate::harness
