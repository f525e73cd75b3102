#include "harness/check/crash_finding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "faultinject/source_location.h"

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::Trace;

constexpr std::size_t kMostAcknowledgements = 8;  // the latest, in a report

std::string source_of(faultinject::SourceLocator& locator, const faultinject::TraceEvent& event) {
  const auto caller = locator.caller(event);
  if (!caller) return "";
  return fmt::format("{}:{}{}", caller->file, caller->line,
                     caller->function.empty() ? "" : " (" + caller->function + ")");
}

// Names drawn at random, and counters, are alike: each run of digits and hexadecimal digits that
// holds a digit counts as "#".
std::string without_numbers(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    bool digit = false;
    while (end < text.size() && std::isxdigit(static_cast<unsigned char>(text[end])) != 0)
      digit = std::isdigit(static_cast<unsigned char>(text[end++])) != 0 || digit;
    if (digit) {
      plain += '#';
      i = end;
    } else {
      plain += text[i++];
    }
  }
  return plain;
}

// Of calls that had returned; those under way may be done in part, and nobody was promised more.
std::vector<FindingEvent> acknowledged_before(const Trace& trace, std::size_t crash_point) {
  std::vector<FindingEvent> told;
  for (std::size_t i = 0; i < std::min(crash_point, trace.events.size()); ++i) {
    if (trace.events[i].kind == EventKind::kAcknowledgement)
      told.push_back(finding_event(trace, i));
  }
  keep_latest(told);
  return told;
}

std::string describe_crash(const Trace& trace, std::size_t crash_point) {
  if (crash_point < trace.events.size())
    return "power lost during " + faultinject::describe_event(trace, crash_point);
  return "power lost after " + faultinject::describe_event(trace, trace.events.size() - 1);
}

// "renameat entry k": the call, what kind of change, and the file's own name.
std::string shape_of(const Trace& trace, const MicroOperationText& operation) {
  const auto lost = finding_event(trace, operation.event);
  const auto path = lost.path.substr(lost.path.rfind('/') + 1);
  return fmt::format("{} {} {}", lost.call, operation.text.substr(0, operation.text.find(' ')),
                     without_numbers(path));
}

}  // namespace

FindingEvent finding_event(const Trace& trace, std::size_t index) {
  const auto& event = trace.events[index];
  if (event.kind == EventKind::kAcknowledgement) {
    std::string text(trace.data(event.data));
    while (text.ends_with('\n')) text.pop_back();
    return {index, "acknowledgement", std::move(text)};
  }
  return {index, faultinject::row_info(event.row).name, faultinject::event_path(trace, index)};
}

void keep_latest(std::vector<FindingEvent>& acknowledged) {
  if (acknowledged.size() > kMostAcknowledgements)
    acknowledged.erase(acknowledged.begin(), acknowledged.end() - kMostAcknowledgements);
}

Finding make_crash_finding(const Trace& trace, const Rejection& rejection, const Basis& basis,
                           std::string engine) {
  CrashStateEnumerator states(trace, *find_model(rejection.model), {.basis = basis});
  faultinject::SourceLocator locator(trace);
  Finding finding;
  finding.kind = rejection.judgement.kind;
  finding.seen = rejection.judgement.message;
  finding.engine = std::move(engine);
  finding.models.assign(rejection.models.begin(), rejection.models.end());
  finding.count = rejection.count;
  finding.counted = "crash state";
  finding.acknowledged = acknowledged_before(trace, rejection.crash_point);
  if (rejection.crash_point > 0)
    finding.crash_after.push_back(finding_event(trace, rejection.crash_point - 1));
  finding.disturbances.push_back(describe_crash(trace, rejection.crash_point));

  std::set<std::size_t> events;
  std::set<std::string> shapes;
  for (const auto operation : rejection.lost) {
    const auto lost = states.describe(operation);
    shapes.insert(shape_of(trace, lost));
    const auto source = source_of(locator, trace.events[lost.event]);
    finding.disturbances.push_back("lost: " + lost.text + (source.empty() ? "" : ", " + source));
    if (!events.insert(lost.event).second) continue;
    finding.lost.push_back(finding_event(trace, lost.event));
    finding.lost.back().source = source;
  }
  finding.message = finding.seen;
  for (const auto& line : finding.disturbances) finding.message += "; " + line;

  finding.id =
      id_of(shapes.empty() ? rejection.judgement.cause : fmt::format("{}", fmt::join(shapes, "|")));
  return finding;
}

void add_crash_finding(std::vector<CrashFinding>& findings, CrashFinding added) {
  const auto same = std::ranges::find_if(
      findings, [&](const CrashFinding& other) { return other.finding.id == added.finding.id; });
  if (same == findings.end()) {
    findings.push_back(std::move(added));
    return;
  }
  const auto rank = [](const CrashFinding& one) {
    return std::pair(one.finding.kind, one.rejection.lost.size());
  };
  auto models = same->rejection.models;
  models.insert(added.rejection.models.begin(), added.rejection.models.end());
  const auto count = same->finding.count + added.finding.count;
  if (rank(added) < rank(*same)) *same = std::move(added);
  same->rejection.models = models;
  same->finding.models.assign(models.begin(), models.end());
  same->finding.count = count;
}

}  // namespace crashgate::harness
