#include "harness/check/workload.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "faultinject/supervisor.h"

namespace crashgate::harness {
namespace {

tl::unexpected<Error> bad_input(std::string what, std::string where) {
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, std::move(what), std::move(where)});
}

std::string describe_end(int exit_status, int signal) {
  if (signal != 0) return fmt::format("was killed by SIG{}", ::sigabbrev_np(signal));
  return fmt::format("ended with exit status {}", exit_status);
}

}  // namespace

Result<void> run_setup_command(const std::string& command, const std::string& directory) {
  if (command.empty()) return {};
  const auto ended = faultinject::run_supervised({.command = {"/bin/sh", "-c", command},
                                                  .environment = {"CRASHGATE_DIR=" + directory},
                                                  .directory = directory,
                                                  .standard_output = STDERR_FILENO});
  if (!ended) return tl::unexpected(Error{ErrorCode::kIo, 0, "setup", ended.error().message});
  const int status = ended->wait_status;
  if (status == 0) return {};
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return bad_input("the setup " + describe_end(WEXITSTATUS(status), signal), command);
}

faultinject::RecordOptions workload_options(const CheckOptions& options,
                                            const std::string& directory) {
  return {.command = {"/bin/sh", "-c", options.workload},
          .directory = directory,
          .ignore_globs = options.ignored,
          .terminal = options.terminal,
          .stacks = options.stacks};
}

Result<void> expect_success(const faultinject::Recording& recording, const CheckOptions& options,
                            const std::string& where) {
  if (recording.signal == 0 && recording.exit_status == 0) return {};
  return bad_input("the workload " + describe_end(recording.exit_status, recording.signal) + where,
                   options.workload);
}

}  // namespace crashgate::harness
