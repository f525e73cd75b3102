#include "harness/command_line/check_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "harness/command_line/exit_status.h"
#include "harness/command_line/progress_bar.h"
#include "harness/engine/exploration.h"
#include "harness/report/case_directory.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate check: {}\n", message);
  return status;
}

}  // namespace

int check(CheckCommand command) {
  if (const auto why_not = why_no_cases_in(command.check.out); !why_not.empty())
    return complain("--out: " + why_not, kExitBadInput);
  if (!can_write_json(command.json_path))
    return complain(fmt::format("--json: cannot write {}", command.json_path), kExitBadInput);
  const bool text = command.json_path != "-" && !command.quiet;
  const auto first_line = fmt::format("crashgate {}  seed {}  workload {}\n", kVersion,
                                      command.check.seed, command.check.workload);
  if (text) {
    fmt::print("{}", first_line);
    std::fflush(stdout);
  }
  install_interrupt_handler();
  Result<CheckReport> report = tl::unexpected(Error{});
  {
    ProgressBar bar(!command.quiet);
    command.check.progress = [&](std::string_view stage, std::uint64_t count,
                                 std::string_view unit) {
      bar.show(stage, count, 0, UINT64_MAX, unit);
    };
    report = run_check(command.check);
  }
  if (interrupting_signal() != 0) return 128 + interrupting_signal();
  if (!report) {
    const bool theirs = report.error().code == ErrorCode::kInvalidArgument;
    const auto message = report.error().errno_value == 0
                             ? report.error().operation + ": " + report.error().path
                             : to_string(report.error());
    return complain(message, theirs ? kExitBadInput : kExitFailed);
  }
  if (command.json_path != "-" && (text || report->verdict != Verdict::kPass))
    fmt::print("{}{}", text ? "" : first_line, to_text(*report));
  if (!write_json(to_json(*report), command.json_path))
    return complain(fmt::format("cannot write {}", command.json_path), kExitFailed);
  return exit_status(report->verdict);
}

int list_models() {
  for (const auto& model : models()) fmt::print("{}\t{}\n", model.name, model.summary);
  return kExitPass;
}

}  // namespace crashgate::harness
