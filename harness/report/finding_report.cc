#include "harness/report/finding_report.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "faultinject/syscall_table.h"
#include "harness/judge/describe.h"

namespace crashgate::harness {
namespace {

std::vector<std::string> describe_processes(const Plan& plan) {
  std::vector<std::string> lines;
  const auto add = [&](std::string who, const std::vector<Operation>& operations) {
    for (std::size_t i = 0; i < operations.size(); ++i)
      who += (i == 0 ? " " : ", ") + describe(operations[i]);
    lines.push_back(std::move(who));
  };
  if (!plan.setup.empty()) add("before:", plan.setup);
  for (std::size_t worker = 0; worker < plan.workers.size(); ++worker)
    add(fmt::format("process {}:", worker), plan.workers[worker]);
  if (plan.same_process_ids)
    lines.emplace_back("all with the same process id, in process-id namespaces of their own");
  if (plan.descriptor_limit != 0)
    lines.push_back(fmt::format("with {} descriptors to open", plan.descriptor_limit));
  if (plan.disk_size != 0) lines.push_back(fmt::format("on a disk of {} bytes", plan.disk_size));
  return lines;
}

}  // namespace

Finding make_finding(const Minimized& minimized) {
  const auto& history = minimized.history;
  const auto& violation = minimized.violation;
  Finding finding;
  finding.id = fmt::format("{:08x}", static_cast<std::uint32_t>(XXH3_64bits(
                                         violation.cause.data(), violation.cause.size())));
  finding.kind = violation.kind;
  finding.seen = violation.message;
  finding.disturbances = describe_disturbances(history);
  finding.message = finding.seen;
  if (!finding.disturbances.empty())
    finding.message += fmt::format("; {}", fmt::join(finding.disturbances, "; "));
  finding.processes = describe_processes(history.plan);
  for (std::uint32_t process = 0; process < history.processes.size(); ++process) {
    const bool worker = process < history.plan.workers.size();
    const auto& operations = operations_of(history.plan, history.survivor, process);
    for (std::uint32_t number = 1; number <= operations.size(); ++number) {
      const auto& event = history.processes[process].events[number];
      const FindingEvent told{event.last_record, describe_operation(history, process, number),
                              operations[number - 1].key};
      if (worker && event.outcome == Outcome::kOk) finding.acknowledged.push_back(told);
      if (violation.subject == to_string(operations[number - 1].kind) &&
          violation.message.starts_with(told.call))
        finding.lost.push_back(told);
    }
  }
  for (std::size_t i = 0; i < history.calls.size(); ++i) {
    if (history.calls[i].injected < faultinject::Injected::kKillBefore) continue;
    const auto site = call_site(history, i);
    finding.crash_after.push_back(
        {i, faultinject::row_info(static_cast<faultinject::Row>(history.calls[i].row)).name,
         site ? operation_at(history, site->process, site->operation).key : ""});
  }
  return finding;
}

}  // namespace crashgate::harness
