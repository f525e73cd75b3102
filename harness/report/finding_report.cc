#include "harness/report/finding_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <nlohmann/json.hpp>

#include "faultinject/syscall_table.h"
#include "harness/judge/describe.h"
#include "harness/report/report.h"
#include "harness/report/shell_word.h"

namespace crashgate::harness {
namespace {

nlohmann::json to_json(const FindingEvent& event) {
  return {
      {"seq", event.seq},
      {"call", event.call},
      {"path", event.path},
      {"source", event.source.empty() ? nlohmann::json(nullptr) : nlohmann::json(event.source)}};
}

nlohmann::json to_json(const std::vector<FindingEvent>& events) {
  auto array = nlohmann::json::array();
  for (const auto& event : events) array.push_back(to_json(event));
  return array;
}

nlohmann::json to_json(const std::optional<FindingFix>& fix) {
  if (!fix) return nullptr;
  auto barriers = nlohmann::json::array();
  for (const auto& barrier : fix->barriers)
    barriers.push_back(
        {{"call", barrier.call}, {"path", barrier.path}, {"after", to_json(barrier.after)}});
  return {{"barriers", barriers}, {"states", fix->states}, {"verified", fix->verified}};
}

// "fix: fsync "f" after openat "f" (event 0), f.c:3 (save)".
std::string to_text(const FindingFix& fix) {
  std::string text;
  for (const auto& barrier : fix.barriers) {
    const auto& after = barrier.after;
    text += fmt::format("  fix: {} {:?} after {} of {:?} (event {}){}{}\n", barrier.call,
                        barrier.path, after.call, after.path, after.seq,
                        after.source.empty() ? "" : ", ", after.source);
  }
  return text + fmt::format("  with {}, {} {} no such violation: {}\n",
                            fix.barriers.size() == 1 ? "it" : "them",
                            counted(fix.states, "crash state"), fix.states == 1 ? "shows" : "show",
                            fix.verified ? "verified, exhaustive" : "a sample, not verified");
}

}  // namespace

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

std::string id_of(std::string_view cause) {
  return fmt::format("{:08x}", static_cast<std::uint32_t>(XXH3_64bits(cause.data(), cause.size())));
}

std::string to_text(const Finding& finding) {
  std::string text =
      fmt::format("\n{}  [{}]  seen in {} of {}, under {}\n  {}\n", to_string(finding.kind),
                  finding.id, counted(finding.count, finding.counted), finding.engine,
                  fmt::join(finding.models, ", "), finding.seen);
  for (const auto& line : finding.disturbances) text += "  - " + line + "\n";
  for (const auto& line : finding.processes) text += "  " + line + "\n";
  if (finding.fix) text += to_text(*finding.fix);
  if (!finding.case_path.empty())
    text += "  replay: crashgate replay " + shell_word(finding.case_path) + "\n";
  return text;
}

nlohmann::json to_json(const Finding& finding) {
  return {{"id", finding.id},
          {"kind", to_string(finding.kind)},
          {"message", finding.message},
          {"models", finding.models},
          {"engine", finding.engine},
          {"count", finding.count},
          {"acknowledged", to_json(finding.acknowledged)},
          {"crash_after", to_json(finding.crash_after)},
          {"lost", to_json(finding.lost)},
          {"disturbances", finding.disturbances},
          {"fix", to_json(finding.fix)},
          {"case", finding.case_path}};
}

Finding make_finding(const Minimized& minimized) {
  const auto& history = minimized.history;
  const auto& violation = minimized.violation;
  Finding finding;
  finding.id = id_of(violation.cause);
  finding.models = {"kill"};
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
