// `crashgate shim`: runs a program under the preloaded shim. The listing is syscall_table_text() of
// syscall_table.h.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

inline constexpr char kShimLibraryName[] = "libcrashgate_shim.so";

struct ShimRun {
  int exit_status = 0;         // the program's own, or 128 plus the signal that ended it
  bool kill_survived = false;  // a SIGKILL that a rule asked for did not end its process
};

/// Why the program was not run; one line, and the exit status that says so: 2 for a bad rule, 127
/// where there is no such program, 126 where it cannot be executed, 4 for anything else.
struct ShimError {
  std::string message;
  int exit_status = 4;
};

/// Runs the program (found along PATH) with the shim preloaded, behind what LD_PRELOAD already
/// names, and waits for it. Standard input, output and error are the program's. Counters are shared
/// by the whole process tree, through a file in a private temporary directory that is removed
/// afterwards. Meanwhile SIGINT, SIGQUIT, SIGTERM and SIGHUP do not end the caller: those sent to
/// it alone are passed on to the program. Not thread-safe: it changes signal dispositions.
tl::expected<ShimRun, ShimError> run_under_shim(std::span<const std::string> rules,
                                                std::vector<std::string> program_and_arguments,
                                                const std::string& shim_library_path);

/// The absolute path of libcrashgate_shim.so: what the environment variable CRASHGATE_SHIM says,
/// else the one installed (or built) along with the running executable.
tl::expected<std::string, ShimError> find_shim_library();

}  // namespace crashgate::faultinject
