#include "harness/check/check_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/report/model_report.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kMostBlindLines = 20;

// "12 barriers ...: 8 noticed, 2 redundant, 1 not noticed, 1 not tested within the budget"
std::string barrier_line(const std::vector<BarrierTest>& tests) {
  long noticed = 0, redundant = 0, blind = 0, untested = 0;
  for (const auto& test : tests) {
    if (test.noticed)
      ++noticed;
    else if (test.states_added > 0)
      ++blind;
    else
      ++(test.exhaustive ? redundant : untested);
  }
  return fmt::format(
      "{} {} taken away one at a time, under posix: {} noticed, {} redundant, {} not noticed{}",
      tests.size(), tests.size() == 1 ? "barrier" : "barriers", noticed, redundant, blind,
      untested == 0 ? "" : fmt::format(", {} not tested within the budget", untested));
}

std::string disk_text(const DiskReport& disk) {
  if (!disk.skipped.empty()) return "  disk         skipped: " + disk.skipped + "\n";
  std::string text = fmt::format(
      "  disk         {} recordings ({:.2f} s), {} disk states recovered, {:.1f} s\n",
      disk.recordings, disk.recording_seconds, with_separators(disk.states), disk.seconds);
  for (const auto& row : disk.rows) text += model_line(row.name, row.count);
  for (const auto& line : disk.left_out) text += "    left out: " + line + "\n";
  return text;
}

nlohmann::json disk_json(const DiskReport& disk) {
  return {
      {"name", "disk"},
      {"recordings", disk.recordings},
      {"states", disk.states},
      {"flaky", disk.flaky},
      {"left_out", disk.left_out},
      {"seconds", disk.recording_seconds + disk.seconds},
      {"skipped", disk.skipped.empty() ? nlohmann::json(nullptr) : nlohmann::json(disk.skipped)}};
}

// "120 of 400 recoveries, drawn by seed, cut by a second power loss: 3,456 states  sampled"
std::string recovery_line(const SecondCrashes& second) {
  const auto of_all =
      second.recorded == second.first_states
          ? "all"
          : fmt::format("{} of {}, drawn by seed,", with_separators(second.recorded),
                        with_separators(second.first_states));
  return fmt::format("recoveries: {} recorded, {} cut by a second power loss: {} states  {}",
                     of_all, with_separators(second.recoveries.size()),
                     with_separators(second.exploration.states),
                     second.exhaustive() ? "exhaustive" : "sampled");
}

std::string count_of_violations(const CheckReport& report) {
  if (report.findings.empty()) return "no violation";
  return counted(report.findings.size(), "violation") +
         (report.verdict == Verdict::kFail ? "" : ", none under the models of --fail-on,");
}

}  // namespace

std::string to_text(const CheckReport& report) {
  std::string text = fmt::format(
      "  recorded     {}, {} of {} {} ({}, {:.2f} s)\n", counted(report.events, "event"),
      counted(report.acknowledgements, "acknowledgement"), report.processes,
      report.processes == 1 ? "process" : "processes", report.recorder, report.recording_seconds);
  for (const auto* model : report.models) {
    const auto found = report.exploration.models.find(std::string(model->name));
    if (found == report.exploration.models.end()) continue;
    text += model_line(model->name, found->second);
  }
  if (report.disk) text += disk_text(*report.disk);
  if (report.second) text += "  " + recovery_line(*report.second) + "\n";
  text += "  basis: " + report.basis + "\n";
  if (!report.exploration.barriers.empty())
    text += "  " + barrier_line(report.exploration.barriers) + "\n";
  for (std::size_t i = 0; i < std::min(report.blind.size(), kMostBlindLines); ++i)
    text += "  blind: " + report.blind[i] + "\n";
  if (report.blind.size() > kMostBlindLines)
    text += fmt::format("  blind: ... and {} more (--json has all)\n",
                        report.blind.size() - kMostBlindLines);
  for (const auto& finding : report.findings) text += to_text(finding);
  const auto on_disk = report.disk && report.disk->skipped.empty()
                           ? " and " + counted(report.disk->states, "disk state")
                           : "";
  const auto states =
      report.exploration.states + (report.second ? report.second->exploration.states : 0);
  text += fmt::format("\n{}: {} in {}{}, {:.1f} s\n", headline(report.verdict),
                      count_of_violations(report), counted(states, "crash state"), on_disk,
                      report.seconds);
  for (const auto& reason : report.inconclusive_reasons) text += "inconclusive: " + reason + "\n";
  for (const auto& note : report.notes) text += "note: " + note + "\n";
  return text + replay_line(report.findings);
}

nlohmann::json to_json(const CheckReport& report) {
  auto json = json_frame(report.verdict, report.inconclusive_reasons, report.seed, report.command);
  json["notes"] = report.notes;
  json["basis"] = report.basis;
  json["seconds"] = report.seconds;
  json["engines"] = nlohmann::json::array({{{"name", "power"},
                                            {"recorder", report.recorder},
                                            {"events", report.events},
                                            {"acknowledgements", report.acknowledgements},
                                            {"processes", report.processes},
                                            {"states", report.exploration.states},
                                            {"flaky", report.exploration.flaky},
                                            {"seconds", report.seconds},
                                            {"skipped", nullptr}}});
  if (report.disk) json["engines"].push_back(disk_json(*report.disk));
  if (report.second)
    json["engines"].push_back({{"name", "recovery"},
                               {"first_states", report.second->first_states},
                               {"recorded", report.second->recorded},
                               {"cut", report.second->recoveries.size()},
                               {"states", report.second->exploration.states},
                               {"exhaustive", report.second->exhaustive()},
                               {"flaky", report.second->exploration.flaky},
                               {"skipped", nullptr}});
  json["models"] = nlohmann::json::array();
  for (const auto* model : report.models) {
    const auto found = report.exploration.models.find(std::string(model->name));
    if (found == report.exploration.models.end()) continue;
    json["models"].push_back(model_json(model->name, found->second));
  }
  if (report.disk) {
    for (const auto& row : report.disk->rows) json["models"].push_back(to_json(row));
  }
  json["barriers"] = nlohmann::json::array();
  for (const auto& test : report.exploration.barriers)
    json["barriers"].push_back(
        {{"seq", test.event},
         {"noticed", test.noticed},
         {"redundant", !test.noticed && test.states_added == 0 && test.exhaustive},
         {"states_added", test.states_added}});
  json["blind"] = report.blind;
  json["findings"] = nlohmann::json::array();
  for (const auto& finding : report.findings) json["findings"].push_back(to_json(finding));
  return json;
}

}  // namespace crashgate::harness
