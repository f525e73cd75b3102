#include "harness/judge/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "faultinject/syscall_table.h"

namespace crashgate::harness {
namespace {

using faultinject::CallRecord;
using faultinject::Injected;

std::string_view row_name(const CallRecord& call) {
  return faultinject::row_info(static_cast<faultinject::Row>(call.row)).name;
}

std::string process_name(const History& history, std::uint32_t process) {
  const auto workers = history.plan.workers.size();
  if (process < workers) return fmt::format("process {}", process);
  return process == workers ? "the survivor" : "the second survivor";
}

std::string describe_injection(const CallRecord& call) {
  switch (call.injected) {
    case Injected::kError:
      return fmt::format("made to fail with {}", ::strerrorname_np(call.injected_errno));
    case Injected::kShort:
      return "cut short";
    case Injected::kDelay:
      return "delayed";
    case Injected::kKillBefore:
      return "killed before it";
    case Injected::kKillMid:
      return "killed in the middle of it";
    case Injected::kKillAfter:
      return "killed after it";
    case Injected::kNothing:
      break;
  }
  return "";
}

std::string_view injection_name(Injected injected) {
  switch (injected) {
    case Injected::kError:
      return "error";
    case Injected::kShort:
      return "short";
    case Injected::kKillBefore:
    case Injected::kKillMid:
    case Injected::kKillAfter:
      return "kill";
    default:
      return "";
  }
}

// Whether at history.calls[index] the turn had just left another process in the middle of an
// operation; gives the call that the other one was about to make.
std::optional<std::size_t> interrupted_call(const History& history, std::size_t index) {
  if (index == 0) return std::nullopt;
  const auto left = history.calls[index - 1].process;
  if (left == history.calls[index].process || left >= history.plan.workers.size())
    return std::nullopt;
  for (std::size_t i = index + 1; i < history.calls.size(); ++i) {
    if (history.calls[i].process != left) continue;
    const auto before = call_site(history, index - 1);
    const auto next = call_site(history, i);
    if (before && next && before->operation == next->operation) return i;
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::string printable(std::string_view key) {
  std::string text;
  for (const char c : key.substr(0, 40)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\')
      text += c;
    else
      text += fmt::format("\\x{:02x}", byte);
  }
  if (key.size() > 40) text += fmt::format("...[{} bytes]", key.size());
  return text;
}

std::optional<CallSite> call_site(const History& history, std::size_t index) {
  const std::uint32_t process = history.calls[index].process;
  if (process >= history.processes.size()) return std::nullopt;
  const auto& events = history.processes[process].events;
  for (std::uint32_t operation = 0; operation < events.size(); ++operation) {
    const auto& event = events[operation];
    if (event.outcome == Outcome::kNotBegun || index < event.first_record ||
        index >= event.last_record)
      continue;
    std::uint32_t ordinal = 0;
    for (std::size_t i = event.first_record; i <= index; ++i)
      ordinal += history.calls[i].process == process ? 1 : 0;
    return CallSite{process, operation, ordinal};
  }
  return std::nullopt;
}

std::vector<std::size_t> calls_of(const History& history, std::uint32_t process,
                                  std::uint32_t operation) {
  std::vector<std::size_t> calls;
  const auto& event = history.processes[process].events[operation];
  if (event.outcome == Outcome::kNotBegun) return calls;
  const std::size_t last = std::min<std::size_t>(event.last_record, history.calls.size());
  for (std::size_t i = event.first_record; i < last; ++i) {
    if (history.calls[i].process == process) calls.push_back(i);
  }
  return calls;
}

Operation operation_at(const History& history, std::uint32_t process, std::uint32_t operation) {
  if (operation == 0) return {.kind = OperationKind::kOpen};
  return operations_of(history.plan, history.survivor, process)[operation - 1];
}

std::string describe(const Operation& operation) {
  std::string text(to_string(operation.kind));
  if (operation.kind != OperationKind::kOpen && operation.kind != OperationKind::kRecover) {
    text += fmt::format(" \"{}\"", printable(operation.key));
  }
  if (carries_payload(operation.kind)) text += fmt::format(" ({} bytes)", operation.size);
  if (operation.kind == OperationKind::kGetRange)
    text += fmt::format(" [{}, +{})", operation.offset, operation.length);
  return text;
}

std::string describe_operation(const History& history, std::uint32_t process,
                               std::uint32_t operation) {
  return describe(operation_at(history, process, operation)) + " of " +
         process_name(history, process);
}

std::string describe_payload(const History& history, std::size_t payload) {
  const auto& written = history.payloads[payload];
  if (written.writer == kSetupWriter)
    return fmt::format("the setup's put \"{}\" ({} bytes)", printable(written.key), written.size);
  return describe_operation(history, written.writer, written.sequence);
}

std::vector<std::string> describe_disturbances(const History& history) {
  std::vector<std::string> lines;
  for (const auto& object : history.plan.foreign)
    lines.push_back(
        fmt::format("{} stands at \"{}\"", describe(object.kind), printable(object.path)));
  for (std::size_t i = 0; i < history.calls.size(); ++i) {
    const auto& call = history.calls[i];
    if (const auto interrupted = interrupted_call(history, i)) {
      const auto site = call_site(history, *interrupted);
      lines.push_back(fmt::format("{} ran before {}, call {} of {}",
                                  process_name(history, call.process),
                                  row_name(history.calls[*interrupted]), site->ordinal,
                                  describe_operation(history, site->process, site->operation)));
    }
    if (call.injected == Injected::kNothing) continue;
    const auto site = call_site(history, i);
    if (!site) continue;
    lines.push_back(fmt::format("{}, call {} of {}: {}", row_name(call), site->ordinal,
                                describe_operation(history, site->process, site->operation),
                                describe_injection(call)));
  }
  return lines;
}

std::string disturbance_signature(const History& history) {
  std::set<std::string> parts;
  for (const auto& object : history.plan.foreign)
    parts.insert(fmt::format("foreign:{}", to_string(object.kind)));
  for (std::size_t i = 0; i < history.calls.size(); ++i) {
    const auto& call = history.calls[i];
    if (const auto interrupted = interrupted_call(history, i)) {
      const auto site = call_site(history, *interrupted);
      parts.insert(fmt::format(
          "turn:{}", to_string(operation_at(history, site->process, site->operation).kind)));
    }
    const auto name = injection_name(call.injected);
    if (name.empty()) continue;
    if (const auto site = call_site(history, i)) {
      parts.insert(fmt::format(
          "{}:{}", name, to_string(operation_at(history, site->process, site->operation).kind)));
    }
  }
  return fmt::format("{}", fmt::join(parts, ","));
}

}  // namespace crashgate::harness
