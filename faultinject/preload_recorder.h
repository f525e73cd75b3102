// Records a program by the preloaded shim: fast, but it sees only what calls the C library by name
// (unreachable() of syscall_table.h lists what does not). What of that it notices goes into
// Trace::blind_spots: programs that ran without the shim, output that no recorded call wrote, and
// files that are not as the recorded calls would have left them. A process that is stopped
// (SIGSTOP) in the middle of a recorded call holds up the others for two seconds; then the rest is
// unrecorded, which is said, too.
#pragma once

#include "faultinject/recording.h"

namespace crashgate::faultinject {

/// Runs the program to its end. Any number of recordings may run at once, but no two of one
/// directory. No other thread may wait for any child (waitpid of -1) meanwhile. Rules in
/// CRASHGATE_RULES of the options' environment disturb the program as they would under the shim,
/// and it is recorded as disturbed.
tl::expected<Recording, TraceError> record_with_preload(const RecordOptions& options);

}  // namespace crashgate::faultinject
