#include "harness/command_line/replay_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "harness/check/crash_case.h"
#include "harness/check/disk_case.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/replay_crash.h"
#include "harness/command_line/replay_disk.h"
#include "harness/engine/exploration.h"
#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"
#include "harness/plan/scratch_directory.h"
#include "harness/report/case_directory.h"
#include "harness/report/saved_case.h"
#include "harness/report/verify_report.h"

namespace crashgate::harness {
namespace {

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate replay: {}\n", message);
  return status;
}

// All but those of the last survivor, which looks at what the others left.
void print_calls(const History& history) {
  for (std::size_t i = 0; i < history.calls.size(); ++i) {
    const auto& call = history.calls[i];
    const auto site = call_site(history, i);
    if (!site || call.process + 1u == history.processes.size()) continue;
    fmt::print("  {:>4}  {:<16} call {} of {}\n", i,
               faultinject::row_info(static_cast<faultinject::Row>(call.row)).name, site->ordinal,
               describe_operation(history, site->process, site->operation));
  }
}

}  // namespace

int replay(const std::string& case_path, bool quiet) {
  if (is_crash_case(case_path)) return replay_crash(case_path, quiet);
  if (is_disk_case(case_path)) return replay_disk(case_path, quiet);
  const auto saved = load_case(case_path);
  if (!saved) return complain(text_of_bad_case(saved.error()), kExitBadInput);
  const auto* store = find_store(saved->store);
  if (store == nullptr)
    return complain(
        fmt::format("{}: this crashgate has no store called \"{}\"", case_path, saved->store),
        kExitBadInput);
  if (saved->plan.same_process_ids && !why_no_pid_namespaces().empty()) {
    return complain("the case needs process-id namespaces: " + why_no_pid_namespaces(),
                    kExitInconclusive);
  }
  if (saved->plan.disk_size != 0 && !why_no_small_disk().empty()) {
    return complain("the case needs a disk of its own: " + why_no_small_disk(), kExitInconclusive);
  }
  const bool needs_device = std::ranges::find(saved->plan.foreign, ForeignKind::kDevice,
                                              &ForeignObject::kind) != saved->plan.foreign.end();
  if (needs_device && !why_no_devices().empty())
    return complain("the case needs a device: " + why_no_devices(), kExitInconclusive);
  install_interrupt_handler();
  auto scratch = ScratchDirectory::create();
  if (!scratch) return complain(to_string(scratch.error()), kExitFailed);
  auto runner = Runner::create(*store, scratch->path());
  if (!runner) return complain(to_string(runner.error()), kExitFailed);
  const auto history = runner->run(saved->plan);
  if (!history) return complain(to_string(history.error()), kExitFailed);
  const auto violations = judge(*history);
  const auto same = std::ranges::find(violations, saved->kind, &Violation::kind);

  if (!quiet) {
    fmt::print("{}\n", first_line(saved->seed, saved->store));
    print_calls(*history);
    for (const auto& line : describe_disturbances(*history)) fmt::print("  - {}\n", line);
    if (call_order(*history) != saved->calls)
      fmt::print(
          "note: the store's storage calls are not those of the recorded run: it has changed "
          "since, or finds another kind of file system\n");
    for (const auto& violation : violations)
      fmt::print("{}: {}\n", to_string(violation.kind), violation.message);
    if (violations.empty())
      fmt::print("PASS: the violation ({}) did not show\n", to_string(saved->kind));
    else if (same == violations.end())
      fmt::print("FAIL: another violation than the recorded {}\n", to_string(saved->kind));
    else
      fmt::print("FAIL: as recorded\n");
  }
  return violations.empty() ? kExitPass : kExitViolation;
}

}  // namespace crashgate::harness
