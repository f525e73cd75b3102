#include "harness/litmus/litmus_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/report/disk_rows.h"

namespace crashgate::harness {
namespace {

/// One outcome of one program on one file system, over all helps.
struct Outcome {
  std::uint64_t seen = 0;  // disk states
  bool is_allowed = false;
  bool is_forbidden = false;  // seen in a recording whose model does not allow it
};

struct Property {
  std::string program;
  std::string fact;
  std::uint64_t states = 0;  // with all steps acknowledged
  std::map<std::string, Outcome> outcomes;
};

struct Summary {  // of one file system
  std::uint64_t recordings = 0;
  std::uint64_t states = 0;
  std::uint64_t damaged = 0;
  std::string damage;
  std::uint64_t undecided = 0;
  std::uint64_t sampled_disks = 0;  // recordings
  std::uint64_t sampled_models = 0;
  std::uint64_t allowed = 0;
  std::uint64_t seen_and_allowed = 0;
  std::vector<std::string> contradictions;
  std::vector<Property> properties;

  std::uint64_t compared() const { return states - damaged - undecided; }
};

void add(Property& property, const LitmusResult& result) {
  for (const auto& outcome : result.outcomes_allowed) property.outcomes[outcome].is_allowed = true;
  for (const auto& [outcome, count] : result.outcomes_seen) {
    auto& entry = property.outcomes[outcome];
    entry.seen += count;
    property.states += count;
    if (result.model_exhaustive && !result.outcomes_allowed.contains(outcome))
      entry.is_forbidden = true;
  }
}

Summary summary_of(const LitmusReport& report, const LitmusSubject& subject) {
  Summary summary;
  for (const auto& result : report.run.results) {
    if (result.file_system != subject.name) continue;
    ++summary.recordings;
    summary.states += result.states;
    summary.damaged += result.unmountable + result.unreadable;
    if (summary.damage.empty()) summary.damage = result.damage;
    summary.undecided += result.undecided;
    summary.sampled_disks += result.disk_exhaustive ? 0 : 1;
    summary.sampled_models += result.model_exhaustive ? 0 : 1;
    summary.allowed += result.allowed;
    summary.seen_and_allowed += result.seen_and_allowed;
    summary.contradictions.insert(summary.contradictions.end(), result.contradictions.begin(),
                                  result.contradictions.end());
    if (result.fact == kRandomPrograms) continue;
    auto found = std::ranges::find(summary.properties, result.program, &Property::program);
    if (found == summary.properties.end()) {
      summary.properties.push_back({.program = result.program, .fact = result.fact});
      found = std::prev(summary.properties.end());
    }
    add(*found, result);
  }
  return summary;
}

std::string answer_of(const Outcome& outcome, std::uint64_t states) {
  if (outcome.is_forbidden)
    return fmt::format("FORBIDDEN by the model yet seen ({} of {} states)",
                       with_separators(outcome.seen), with_separators(states));
  if (outcome.seen > 0)
    return fmt::format("seen ({} of {} states)", with_separators(outcome.seen),
                       with_separators(states));
  return fmt::format("never seen in {} states", with_separators(states));
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string to_text(const LitmusSubject& subject, const Summary& summary) {
  std::string text =
      fmt::format("\n{}{}{}\n", subject.name, subject.tools.empty() ? "" : "  " + subject.tools,
                  subject.mount.empty() ? "" : ", mounted with " + subject.mount);
  if (!subject.skipped.empty()) return text + "  skipped: " + subject.skipped + "\n";
  text += fmt::format(
      "  {} recordings, {} disk states compared with the model {}: {} contradictions\n"
      "  {} of {} pairs that the model allows were seen ({:.0f}%)\n",
      with_separators(summary.recordings), with_separators(summary.compared()), subject.model,
      summary.contradictions.size(), with_separators(summary.seen_and_allowed),
      with_separators(summary.allowed), percent(summary.seen_and_allowed, summary.allowed));
  text += fmt::format("  disk states: exhaustive in {} recordings, sampled in {}\n",
                      summary.recordings - summary.sampled_disks, summary.sampled_disks);
  if (summary.sampled_models > 0)
    text +=
        fmt::format("  the model's states: sampled in {} recordings, {} disk states undecided\n",
                    summary.sampled_models, with_separators(summary.undecided));
  if (summary.damaged > 0)
    text += fmt::format("  {} disk states did not mount, or could not be read: {}\n",
                        with_separators(summary.damaged), summary.damage);
  std::string fact;
  for (const auto& property : summary.properties) {
    if (property.fact != fact) text += fmt::format("\n  {}\n", fact = property.fact);
    text += fmt::format("    {}\n", property.program);
    for (const auto& [outcome, entry] : property.outcomes)
      text += fmt::format("      {:<44} {}\n", outcome, answer_of(entry, property.states));
  }
  return text;
}

/// Of all file systems: the engine that recovers disks, as in the reports of other verbs.
nlohmann::json engine_json(const LitmusReport& report) {
  std::uint64_t states = 0;
  std::vector<std::string> left_out;
  for (const auto& result : report.run.results) states += result.states;
  for (const auto& subject : report.subjects) {
    if (!subject.skipped.empty()) left_out.push_back(subject.name + ": " + subject.skipped);
  }
  const bool is_skipped = left_out.size() == report.subjects.size();
  const auto reasons = fmt::format("{}", fmt::join(left_out, "; "));
  return {{"name", "disk"},
          {"recordings", report.run.results.size()},
          {"states", states},
          {"left_out", left_out},
          {"seconds", report.run.seconds},
          {"skipped", is_skipped ? nlohmann::json(reasons) : nlohmann::json(nullptr)}};
}

std::string disk_name(const LitmusSubject& subject) {
  return "disk:" + subject.name;
}

/// What was seen on one file system: pairs of tree and acknowledgements, of all recordings.
nlohmann::json model_json(const LitmusReport& report, const LitmusSubject& subject) {
  DiskRow row{.name = disk_name(subject)};
  for (const auto& result : report.run.results) {
    if (result.file_system != subject.name) continue;
    row.disk_states += result.states;
    row.count.crash_points += result.crash_points;
    row.count.states += result.seen_and_allowed + result.contradictions.size();
    row.count.exhaustive = row.count.exhaustive && result.disk_exhaustive && result.undecided == 0;
    row.count.seconds += result.seconds_recording + result.seconds_model + result.seconds_states;
  }
  row.count.exhaustive = row.count.exhaustive && report.run.left_out == 0;
  auto json = to_json(row);
  json["model"] = subject.model;
  return json;
}

/// A contradiction of a model: the model is wrong about the file system, or the file system is.
nlohmann::json finding_json(const LitmusSubject& subject, const std::string& contradiction) {
  return to_json(Finding{.id = id_of(subject.name + "\n" + contradiction),
                         .kind = FindingKind::kFileSystem,
                         .message = contradiction,
                         .seen = contradiction,
                         .engine = "disk",
                         .models = {disk_name(subject)},
                         .count = 1});
}

nlohmann::json to_json(const Property& property) {
  nlohmann::json outcomes = nlohmann::json::array();
  for (const auto& [outcome, entry] : property.outcomes)
    outcomes.push_back({{"outcome", outcome},
                        {"states", entry.seen},
                        {"allowed", entry.is_allowed},
                        {"forbidden", entry.is_forbidden}});
  return {{"program", property.program},
          {"fact", property.fact},
          {"states", property.states},
          {"outcomes", outcomes}};
}

}  // namespace

void conclude(LitmusReport& report) {
  bool looked = false;
  for (const auto& subject : report.subjects) {
    if (!subject.skipped.empty()) {
      report.inconclusive_reasons.push_back(subject.name + ": " + subject.skipped);
      continue;
    }
    const Summary summary = summary_of(report, subject);
    looked = looked || summary.compared() > 0;
    if (subject.judged && !summary.contradictions.empty()) report.verdict = Verdict::kFail;
  }
  if (!looked && report.inconclusive_reasons.empty())
    report.inconclusive_reasons.push_back("nothing was compared within the budget");
  if (report.verdict == Verdict::kPass && !report.inconclusive_reasons.empty())
    report.verdict = Verdict::kInconclusive;
}

std::string to_text(const LitmusReport& report) {
  std::string text;
  std::uint64_t compared = 0, contradictions = 0;
  for (const auto& subject : report.subjects) {
    const Summary summary = summary_of(report, subject);
    text += to_text(subject, summary);
    compared += summary.compared();
    contradictions += summary.contradictions.size();
    for (const auto& contradiction : summary.contradictions)
      text +=
          fmt::format("\n{}{}\n", subject.judged ? "contradiction: " : "differs: ", contradiction);
  }
  text += fmt::format("\nbasis of disk and model: {}\n", report.basis);
  if (report.run.left_out > 0)
    text += fmt::format("{} recordings were left out: the budget ended\n",
                        with_separators(report.run.left_out));
  text += fmt::format("{}: {} recovered disk states compared, {} contradictions, {:.1f} s\n",
                      headline(report.verdict), with_separators(compared), contradictions,
                      report.run.seconds);
  for (const auto& reason : report.inconclusive_reasons) text += "inconclusive: " + reason + "\n";
  return text;
}

nlohmann::json to_json(const LitmusReport& report) {
  auto json = json_frame(report.verdict, report.inconclusive_reasons, report.seed, report.command);
  json["seconds"] = report.run.seconds;
  json["basis"] = report.basis;
  json["recordings_left_out"] = report.run.left_out;
  json["engines"] = nlohmann::json::array({engine_json(report)});
  json["models"] = nlohmann::json::array();
  json["findings"] = nlohmann::json::array();
  json["file_systems"] = nlohmann::json::array();
  for (const auto& subject : report.subjects) {
    const Summary summary = summary_of(report, subject);
    if (subject.skipped.empty()) json["models"].push_back(model_json(report, subject));
    if (subject.judged) {
      for (const auto& contradiction : summary.contradictions)
        json["findings"].push_back(finding_json(subject, contradiction));
    }
    nlohmann::json properties = nlohmann::json::array();
    for (const auto& property : summary.properties) properties.push_back(to_json(property));
    json["file_systems"].push_back(
        {{"name", subject.name},
         {"model", subject.model},
         {"made_by", subject.tools},
         {"mount_options", subject.mount},
         {"judged", subject.judged},
         {"skipped",
          subject.skipped.empty() ? nlohmann::json(nullptr) : nlohmann::json(subject.skipped)},
         {"recordings", summary.recordings},
         {"disk_states", summary.states},
         {"disk_states_compared", summary.compared()},
         {"disk_states_damaged", summary.damaged},
         {"recordings_sampled", summary.sampled_disks},
         {"model_pairs_allowed", summary.allowed},
         {"model_pairs_seen", summary.seen_and_allowed},
         {"contradictions", summary.contradictions},
         {"properties", properties}});
  }
  json["recordings"] = nlohmann::json::array();
  for (const auto& result : report.run.results) {
    json["recordings"].push_back({{"file_system", result.file_system},
                                  {"program", result.program},
                                  {"help", result.help},
                                  {"disk_states", result.states},
                                  {"crash_points", result.crash_points},
                                  {"exhaustive", result.disk_exhaustive},
                                  {"allowed", result.allowed},
                                  {"seen", result.seen_and_allowed},
                                  {"contradictions", result.contradictions.size()},
                                  {"seconds_recording", result.seconds_recording},
                                  {"seconds_model", result.seconds_model},
                                  {"seconds_states", result.seconds_states}});
  }
  return json;
}

}  // namespace crashgate::harness
