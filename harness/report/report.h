// What the reports of all verbs have in common: verdict, the frame of the JSON object of DESIGN.md,
// where it goes, the last line.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "harness/report/finding_report.h"

namespace crashgate::harness {

enum class Verdict : std::uint8_t { kPass, kFail, kInconclusive };
/// As in JSON: "pass".
std::string_view to_string(Verdict verdict);
/// As on a terminal: "PASS".
std::string_view headline(Verdict verdict);
int exit_status(Verdict verdict);
/// What findings and doubts amount to. `fail_on`: the models and recorded disks ("disk:ext4") whose
/// findings make a run fail; empty: all.
Verdict verdict_of(const std::vector<Finding>& findings, const std::vector<std::string>& fail_on,
                   const std::vector<std::string>& inconclusive_reasons);

/// schema, verdict, inconclusive_reasons, seed, command and context.
nlohmann::json json_frame(Verdict verdict, const std::vector<std::string>& inconclusive_reasons,
                          std::uint64_t seed, const std::string& command);
/// Whether write_json will be able to write there. "": nowhere, "-": standard output.
bool can_write_json(const std::string& path);
/// Whether standard output could be written, whoever ends the program finds out.
bool write_json(const nlohmann::json& report, const std::string& path);

/// The literal line that replays the first finding that has a case; empty where none has.
std::string replay_line(const std::vector<Finding>& findings);

/// 1234567 as "1,234,567".
std::string with_separators(std::uint64_t number);

/// "1 crash state", "1,234 crash states".
std::string counted(std::uint64_t number, std::string_view noun);

}  // namespace crashgate::harness
