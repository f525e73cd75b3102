#include "harness/check/check_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/report/model_report.h"

namespace crashgate::harness {
namespace {

// "12 barriers: 10 noticed, 2 redundant, 0 blind"
std::string barrier_line(const std::vector<BarrierTest>& tests) {
  const auto noticed = std::ranges::count_if(tests, &BarrierTest::noticed);
  const auto redundant = std::ranges::count_if(tests, [](const BarrierTest& test) {
    return !test.noticed && test.states_added == 0 && test.exhaustive;
  });
  return fmt::format(
      "{} barriers taken away one at a time, under posix: {} noticed, {} redundant, {} not noticed",
      tests.size(), noticed, redundant, static_cast<long>(tests.size()) - noticed - redundant);
}

}  // namespace

std::string to_text(const CheckReport& report) {
  std::string text = fmt::format(
      "  recorded     {} events, {} acknowledgements of {} {} ({}, {:.2f} s)\n",
      with_separators(report.events), with_separators(report.acknowledgements), report.processes,
      report.processes == 1 ? "process" : "processes", report.recorder, report.recording_seconds);
  for (const auto* model : report.models) {
    const auto found = report.exploration.models.find(std::string(model->name));
    if (found == report.exploration.models.end()) continue;
    text += model_line(model->name, found->second);
  }
  text += "  basis: " + report.basis + "\n";
  if (!report.exploration.barriers.empty())
    text += "  " + barrier_line(report.exploration.barriers) + "\n";
  for (const auto& line : report.blind) text += "  blind: " + line + "\n";
  for (const auto& finding : report.findings) text += to_text(finding);
  text +=
      fmt::format("\n{}: {} in {} crash states, {:.1f} s\n", headline(report.verdict),
                  report.findings.empty() ? std::string("no violation")
                                          : fmt::format("{} violation(s)", report.findings.size()),
                  with_separators(report.exploration.states), report.seconds);
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
  json["models"] = nlohmann::json::array();
  for (const auto* model : report.models) {
    const auto found = report.exploration.models.find(std::string(model->name));
    if (found == report.exploration.models.end()) continue;
    json["models"].push_back(model_json(model->name, found->second));
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
