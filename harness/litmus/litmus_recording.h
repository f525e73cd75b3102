// Runs a litmus program on a recorded disk.
#pragma once

#include <string>

#include "harness/disk/disk_recording.h"
#include "harness/litmus/litmus_program.h"
#include "store/error.h"

namespace crashgate::harness {

/// The trace has an acknowledgement after each step: its number from 1, a line. What `help` does is
/// in the trace too, unacknowledged; what is written back at the end is not.
///
/// For a process in a mount namespace of its own, with the shim linked in. `scratch`: an existing
/// private directory. InvalidArgument: mkfs or mount do not take the options, or a step failed.
Result<DiskRecording> record_litmus(const LitmusProgram& program, const LitmusHelp& help,
                                    const FileSystemChoice& choice, const std::string& scratch);

}  // namespace crashgate::harness
