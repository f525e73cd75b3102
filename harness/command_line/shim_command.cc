#include "harness/command_line/shim_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

#include "faultinject/shim.h"
#include "faultinject/shim_command.h"
#include "faultinject/syscall_table.h"
#include "harness/command_line/exit_status.h"

namespace crashgate::harness {
namespace {

constexpr std::string_view kHelp = R"(crashgate shim [RULE...] -- PROGRAM ARGUMENT...
Runs PROGRAM with its storage calls under rules; gives PROGRAM's exit status, or 128 plus the signal that ended it.

RULE is CALL[,CALL][@PATHGLOB]:when=N[..M][+STEP]:ACTION
  CALL      a system call (--list names them), %KIND such as %write or %barrier, or all
  PATHGLOB  only calls on such a path; * matches slashes too
  when=     which of the matching calls, counted from 1 over the whole process tree: 3, 3..5, 3.. or 1..+2; default all
  ACTION    error=ERRNO | short=BYTES | delay=TIME | kill[=before|mid|after]

crashgate shim --list   the table of storage calls, and what a preloaded library cannot see
)";

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate shim: {}\n", message);
  return status;
}

}  // namespace

int shim(std::span<const std::string> arguments) {
  faultinject::ignore_failure_points();  // those that fiu-run enables are meant for PROGRAM
  const auto separator = std::ranges::find(arguments, "--");
  const std::vector<std::string> rules(arguments.begin(), separator);
  if (std::ranges::find(rules, "--list") != rules.end()) {
    fmt::print("{}", faultinject::syscall_table_text());
    return kExitPass;
  }
  if (std::ranges::find(rules, "--help") != rules.end() ||
      std::ranges::find(rules, "-h") != rules.end()) {
    fmt::print("{}", kHelp);
    return kExitPass;
  }
  if (separator == arguments.end() || std::next(separator) == arguments.end()) {
    return complain("no program: crashgate shim [RULE...] -- PROGRAM ARGUMENT...", kExitBadInput);
  }
  const auto library = faultinject::find_shim_library();
  if (!library) return complain(library.error().message, library.error().exit_status);
  const auto run =
      faultinject::run_under_shim(rules, {std::next(separator), arguments.end()}, *library);
  if (!run) return complain(run.error().message, run.error().exit_status);
  if (run->kill_survived) return complain("a planned kill did not end its process", kExitFailed);
  return run->exit_status;
}

}  // namespace crashgate::harness
