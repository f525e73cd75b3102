// The user's commands that are not judged but recorded: the setup and the workload.
#pragma once

#include <string>

#include "faultinject/recording.h"
#include "harness/check/check_run.h"
#include "store/error.h"

namespace crashgate::harness {

/// Runs it in `directory`, unrecorded, with all that it starts to their end. What it prints goes to
/// standard error: standard output is the report's. Empty: nothing to do. InvalidArgument: it
/// fails.
Result<void> run_setup_command(const std::string& command, const std::string& directory);

/// What a recorder is asked for.
faultinject::RecordOptions workload_options(const CheckOptions& options,
                                            const std::string& directory);

/// InvalidArgument: the recorded workload failed. `where`: "", or " on a disk of ext4".
Result<void> expect_success(const faultinject::Recording& recording, const CheckOptions& options,
                            const std::string& where = "");

}  // namespace crashgate::harness
