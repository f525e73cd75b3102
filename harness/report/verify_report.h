// What `crashgate verify` did, as text and as the JSON object of DESIGN.md.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/engine/engine.h"
#include "harness/report/finding_report.h"
#include "harness/report/report.h"

namespace crashgate::harness {

struct VerifyReport {
  std::string store;
  std::uint64_t seed = 0;
  std::string command;
  Verdict verdict = Verdict::kPass;
  std::vector<std::string> inconclusive_reasons;
  std::vector<EngineResult> engines;
  std::vector<Finding> findings;
  std::uint64_t unminimized = 0;  // failing causes beyond those made minimal
  double seconds = 0;
};

/// The first line of a run.
std::string first_line(std::uint64_t seed, const std::string& store);
/// Everything after it; ends with the line that replays the first finding, where there is one.
std::string to_text(const VerifyReport& report);
nlohmann::json to_json(const VerifyReport& report);

}  // namespace crashgate::harness
