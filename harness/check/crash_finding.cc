#include "harness/check/crash_finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::Trace;

constexpr std::size_t kMostAcknowledgements = 8;  // the latest, in a report

FindingEvent finding_event(const Trace& trace, std::size_t index) {
  const auto& event = trace.events[index];
  if (event.kind == EventKind::kAcknowledgement) {
    std::string text(trace.data(event.data));
    while (text.ends_with('\n')) text.pop_back();
    return {index, "acknowledgement", std::move(text)};
  }
  return {index, faultinject::row_info(event.row).name, faultinject::event_path(trace, index)};
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
    if (trace.events[i].kind == EventKind::kAcknowledgement) told.push_back(finding_event(trace, i));
  }
  if (told.size() > kMostAcknowledgements)
    told.erase(told.begin(), told.end() - kMostAcknowledgements);
  return told;
}

std::string describe_crash(const Trace& trace, std::size_t crash_point) {
  if (crash_point == 0) return "power lost before the first call";
  const auto last = std::min(crash_point, trace.events.size()) - 1;
  return fmt::format("power lost after {}", faultinject::describe_event(trace, last));
}

}  // namespace

Finding make_crash_finding(const Trace& trace, const Rejection& rejection, const Basis& basis,
                           std::string engine) {
  CrashStateEnumerator states(trace, *find_model(rejection.model), {.basis = basis});
  Finding finding;
  finding.kind = rejection.judgement.kind;
  finding.seen = rejection.judgement.message;
  finding.engine = std::move(engine);
  finding.models.assign(rejection.models.begin(), rejection.models.end());
  finding.count = rejection.count;
  finding.acknowledged = acknowledged_before(trace, rejection.crash_point);
  if (rejection.crash_point > 0)
    finding.crash_after.push_back(finding_event(trace, rejection.crash_point - 1));
  finding.disturbances.push_back(describe_crash(trace, rejection.crash_point));

  std::set<std::size_t> events;
  std::set<std::string> shapes;
  for (const auto operation : rejection.lost) {
    const auto lost = states.describe(operation);
    if (events.insert(lost.event).second)
      finding.lost.push_back(finding_event(trace, lost.event));
    shapes.insert(without_numbers(finding_event(trace, lost.event).call + " " + lost.text));
    finding.disturbances.push_back("lost: " + lost.text);
  }
  finding.message = finding.seen;
  for (const auto& line : finding.disturbances) finding.message += "; " + line;

  std::string cause(to_string(finding.kind));
  cause += "|" + rejection.judgement.cause;
  for (const auto& shape : shapes) cause += "|" + shape;
  finding.id = id_of(cause);
  return finding;
}

void add_finding(std::vector<Finding>& findings, Finding finding) {
  const auto same = std::ranges::find(findings, finding.id, &Finding::id);
  if (same == findings.end()) {
    findings.push_back(std::move(finding));
    return;
  }
  same->count += finding.count;
  for (auto& model : finding.models) {
    if (std::ranges::find(same->models, model) == same->models.end())
      same->models.push_back(std::move(model));
  }
}

}  // namespace crashgate::harness
