#include "harness/report/verify_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "harness/report/disk_rows.h"
#include "harness/report/model_report.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

// "12 runs, 3 kills, ..., 1,234 crash states, 56 disk states": of the engines that ran.
std::string how_much(const VerifyReport& report) {
  Tally total;
  bool has_runs = false;
  std::vector<std::string> states;
  for (const auto& engine : report.engines) {
    if (!engine.skipped.empty()) continue;
    if (engine.crash) {
      states.push_back(with_separators(engine.crash->exploration.states) + " crash states");
    } else if (engine.disk) {
      states.push_back(with_separators(engine.exploration.tally.runs) + " disk states");
    } else {
      total.add(engine.exploration.tally);
      has_runs = true;
    }
  }
  if (has_runs)
    states.insert(
        states.begin(),
        fmt::format("{} runs, {} kills, {} injected errors, {} acknowledged operations, {} "
                    "put_if_absent winners",
                    with_separators(total.runs), with_separators(total.kills),
                    with_separators(total.errors), with_separators(total.acknowledgements),
                    with_separators(total.winners)));
  return fmt::format("{}", fmt::join(states, ", "));
}

std::vector<DiskRow> disk_rows(const EngineResult& engine) {
  std::vector<DiskRow> rows;
  const auto& disk = *engine.disk;
  for (std::size_t i = 0; i < disk.exploration.counts.size(); ++i)
    add_to_rows(rows, *disk.recordings[i].disk.choice.file_system, disk.exploration.counts[i]);
  return rows;
}

std::string how_much(const EngineResult& engine) {
  if (engine.exhaustive) return "exhaustive: " + engine.basis;
  if (engine.units == 0 || engine.crash || engine.disk) return "sampled: " + engine.basis;
  return fmt::format("{} of {} cases within the budget: {}",
                     with_separators(engine.exploration.units_done), with_separators(engine.units),
                     engine.basis);
}

nlohmann::json to_json(const EngineResult& engine) {
  const auto& tally = engine.exploration.tally;
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
  };
  return {{"name", engine.name},
          {"runs", tally.runs},
          {"kills", tally.kills},
          {"errors_injected", tally.errors},
          {"winners", tally.winners},
          {"acknowledgements", tally.acknowledgements},
          {"exhaustive", engine.exhaustive},
          {"cases", engine.units == 0 ? nlohmann::json(nullptr) : nlohmann::json(engine.units)},
          {"cases_done", engine.exploration.units_done},
          {"basis", engine.basis},
          {"seconds", engine.seconds},
          {"skipped", text_or_null(engine.skipped)},
          {"left_out", text_or_null(engine.left_out)}};
}

// The process-kill model: its crash points are the kills of the engine that tries them all.
nlohmann::json kill_model(const VerifyReport& report) {
  for (const auto& engine : report.engines) {
    if (engine.name != "kill" || !engine.skipped.empty()) continue;
    const auto& tally = engine.exploration.tally;
    const auto first = tally.seconds_to_first_failure;
    return {
        {"name", "kill"},
        {"crash_points", tally.kills},
        {"states_checked", tally.states.size()},
        {"states_possible", nullptr},
        {"exhaustive", engine.exhaustive},
        {"seconds", engine.seconds},
        {"seconds_to_first_finding", first < 0 ? nlohmann::json(nullptr) : nlohmann::json(first)}};
  }
  return nullptr;
}

}  // namespace

std::string first_line(std::uint64_t seed, const std::string& store) {
  return fmt::format("crashgate {}  seed {}  store {}", kVersion, seed, store);
}

std::string to_text(const VerifyReport& report) {
  std::string text;
  for (const auto& engine : report.engines) {
    const auto& tally = engine.exploration.tally;
    if (!engine.skipped.empty()) {
      text += fmt::format("  {:<11}skipped: {}\n", engine.name, engine.skipped);
      continue;
    }
    if (engine.disk) {
      text += fmt::format("  {:<11}{:>8} disk states {:>21.1f} s  {}\n", engine.name,
                          with_separators(engine.exploration.tally.runs), engine.seconds,
                          how_much(engine));
      for (const auto& row : disk_rows(engine)) text += model_line(row.name, row.count);
      if (!engine.left_out.empty()) text += fmt::format("    left out: {}\n", engine.left_out);
      continue;
    }
    if (engine.crash) {
      text += fmt::format("  {:<11}{:>8} crash states {:>20.1f} s  {}\n", engine.name,
                          with_separators(engine.crash->exploration.states), engine.seconds,
                          how_much(engine));
      for (const auto& [name, count] : engine.crash->exploration.models)
        text += model_line(name, count);
      continue;
    }
    text += fmt::format("  {:<11}{:>8} runs {:>8} kills {:>8} errors {:>6.1f} s  {}\n", engine.name,
                        with_separators(tally.runs), with_separators(tally.kills),
                        with_separators(tally.errors), engine.seconds, how_much(engine));
    if (!engine.left_out.empty())
      text += fmt::format("  {:<11}left out: {}\n", "", engine.left_out);
  }
  for (const auto& finding : report.findings) text += to_text(finding);
  if (report.unminimized > 0)
    text += fmt::format("\n{}, of the kinds above, not made minimal\n",
                        counted(report.unminimized, "further failing case"));
  text += fmt::format("\n{}: {} in {}, {:.1f} s\n", headline(report.verdict),
                      report.findings.empty() ? std::string("no violation")
                                              : counted(report.findings.size(), "violation"),
                      how_much(report), report.seconds);
  for (const auto& reason : report.inconclusive_reasons) text += "inconclusive: " + reason + "\n";
  return text + replay_line(report.findings);
}

nlohmann::json to_json(const VerifyReport& report) {
  auto json = json_frame(report.verdict, report.inconclusive_reasons, report.seed, report.command);
  json["store"] = report.store;
  json["seconds"] = report.seconds;
  json["engines"] = nlohmann::json::array();
  for (const auto& engine : report.engines) json["engines"].push_back(to_json(engine));
  json["models"] = nlohmann::json::array();
  if (auto model = kill_model(report); !model.is_null()) json["models"].push_back(std::move(model));
  for (const auto& engine : report.engines) {
    if (engine.disk) {
      for (const auto& row : disk_rows(engine)) json["models"].push_back(to_json(row));
    }
    if (!engine.crash) continue;
    for (const auto& [name, count] : engine.crash->exploration.models)
      json["models"].push_back(model_json(name, count));
  }
  json["findings"] = nlohmann::json::array();
  for (const auto& finding : report.findings) json["findings"].push_back(to_json(finding));
  return json;
}

}  // namespace crashgate::harness
