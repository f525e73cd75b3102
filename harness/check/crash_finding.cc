#include "harness/check/crash_finding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <optional>
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

// What a report says of events; quickest in ascending order.
struct EventTexts {
  explicit EventTexts(const Trace& trace) : describer(trace), locator(trace) {}
  faultinject::EventDescriber describer;
  faultinject::SourceLocator locator;
};

FindingEvent finding_event(const Trace& trace, std::size_t index, EventTexts& texts) {
  const auto& event = trace.events[index];
  auto source = source_of(texts.locator, event);
  if (event.kind == EventKind::kAcknowledgement) {
    std::string text(trace.data(event.data));
    while (text.ends_with('\n')) text.pop_back();
    return {index, "acknowledgement", std::move(text), std::move(source)};
  }
  return {index, faultinject::row_info(event.row).name, texts.describer.path(index),
          std::move(source)};
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
std::vector<FindingEvent> acknowledged_before(const Trace& trace, std::size_t crash_point,
                                              EventTexts& texts) {
  std::vector<std::size_t> told;
  for (std::size_t i = std::min(crash_point, trace.events.size());
       i-- > 0 && told.size() < kMostAcknowledgements;) {
    if (trace.events[i].kind == EventKind::kAcknowledgement) told.push_back(i);
  }
  std::vector<FindingEvent> events;
  for (auto index = told.rbegin(); index != told.rend(); ++index)
    events.push_back(finding_event(trace, *index, texts));
  return events;
}

std::string describe_crash(const Trace& trace, std::size_t crash_point) {
  if (crash_point < trace.events.size())
    return "power lost during " + faultinject::describe_event(trace, crash_point);
  return "power lost after " + faultinject::describe_event(trace, trace.events.size() - 1);
}

// "d/" of `entry "d/f" of rename (event 3)`, "" of `entry "f" of ...`: the directory in which
// something was lost.
std::string directory_in(const std::string& text) {
  const auto begin = text.find('"') + 1;
  const auto path = text.substr(begin, text.rfind('"') - begin);
  return path.substr(0, path.rfind('/') + 1);
}

// "renameat entry d/k": the call, what kind of change, where, and the file's own name. A rename
// from one directory to another may lose its entry in either.
std::string shape_of(const FindingEvent& lost, const std::string& text) {
  const auto name = lost.path.substr(lost.path.rfind('/') + 1);
  return fmt::format("{} {} {}", lost.call, text.substr(0, text.find(' ')),
                     without_numbers(directory_in(text) + name));
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
  EventTexts texts(trace);
  Finding finding;
  finding.kind = rejection.judgement.kind;
  finding.seen = rejection.judgement.message;
  finding.engine = std::move(engine);
  finding.models.assign(rejection.models.begin(), rejection.models.end());
  finding.count = rejection.count;
  finding.counted = "crash state";
  finding.acknowledged = acknowledged_before(trace, rejection.crash_point, texts);
  if (rejection.crash_point > 0)
    finding.crash_after.push_back(finding_event(trace, rejection.crash_point - 1, texts));
  finding.disturbances.push_back(describe_crash(trace, rejection.crash_point));

  std::set<std::string> shapes;
  std::optional<std::size_t> event;  // that finding.lost ends with
  for (const auto operation : rejection.lost) {
    const auto lost = states.describe(operation);
    if (event != lost.event) finding.lost.push_back(finding_event(trace, lost.event, texts));
    event = lost.event;
    const auto& source = finding.lost.back().source;
    shapes.insert(shape_of(finding.lost.back(), lost.text));
    finding.disturbances.push_back("lost: " + lost.text + (source.empty() ? "" : ", " + source));
  }
  finding.message = finding.seen;
  for (const auto& line : finding.disturbances) finding.message += "; " + line;

  finding.id =
      id_of(shapes.empty() ? rejection.judgement.cause : fmt::format("{}", fmt::join(shapes, "|")));
  return finding;
}

FindingFix make_finding_fix(const Trace& trace, const Fix& fix) {
  EventTexts texts(trace);
  FindingFix told{.states = fix.states, .verified = fix.verified};
  for (const auto& barrier : fix.barriers) {
    auto after = finding_event(trace, barrier.after, texts);
    auto path = after.path;
    if (trace.events[barrier.after].file != barrier.file) {  // the directory of what was named
      const auto slash = path.rfind('/');
      path = slash == std::string::npos ? "." : path.substr(0, slash);
    }
    told.barriers.push_back({std::move(after), "fsync", std::move(path)});
  }
  return told;
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
