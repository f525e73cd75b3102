#include "harness/report/report.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/command_line/exit_status.h"
#include "harness/report/shell_word.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

constexpr int kReportSchema = 1;

struct VerdictText {
  std::string_view name;
  std::string_view headline;
  int exit_status;
};
// In the order of enum Verdict.
constexpr VerdictText kVerdicts[] = {
    {"pass", "PASS", kExitPass},
    {"fail", "FAIL", kExitViolation},
    {"inconclusive", "INCONCLUSIVE", kExitInconclusive},
};

const VerdictText& text_of(Verdict verdict) {
  return kVerdicts[static_cast<std::size_t>(verdict)];
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  return text_of(verdict).name;
}

std::string_view headline(Verdict verdict) {
  return text_of(verdict).headline;
}

int exit_status(Verdict verdict) {
  return text_of(verdict).exit_status;
}

Verdict verdict_of(const std::vector<Finding>& findings, const std::vector<std::string>& fail_on,
                   const std::vector<std::string>& inconclusive_reasons) {
  const auto counts = [&](const Finding& finding) {
    return fail_on.empty() || std::ranges::any_of(fail_on, [&](const std::string& model) {
             return std::ranges::find(finding.models, model) != finding.models.end();
           });
  };
  if (std::ranges::any_of(findings, counts)) return Verdict::kFail;
  return inconclusive_reasons.empty() ? Verdict::kPass : Verdict::kInconclusive;
}

nlohmann::json json_frame(Verdict verdict, const std::vector<std::string>& inconclusive_reasons,
                          std::uint64_t seed, const std::string& command) {
  struct utsname machine {};
  ::uname(&machine);
  return {{"schema", kReportSchema},
          {"verdict", to_string(verdict)},
          {"inconclusive_reasons", inconclusive_reasons},
          {"seed", seed},
          {"command", command},
          {"context",
           {{"kernel", machine.release},
            {"machine", machine.machine},
            {"processors", ::sysconf(_SC_NPROCESSORS_ONLN)},
            {"crashgate", kVersion}}}};
}

bool can_write_json(const std::string& path) {
  return path.empty() || path == "-" || std::ofstream(path, std::ios::app);
}

bool write_json(const nlohmann::json& report, const std::string& path) {
  if (path.empty()) return true;
  const auto text = report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (path == "-") {
    std::fputs(text.c_str(), stdout);
    return true;
  }
  std::ofstream file(path);
  file << text;
  file.close();
  return static_cast<bool>(file);
}

std::string replay_line(const std::vector<Finding>& findings) {
  for (const auto& finding : findings) {
    if (!finding.case_path.empty())
      return "crashgate replay " + shell_word(finding.case_path) + "\n";
  }
  return "";
}

std::string with_separators(std::uint64_t number) {
  const auto digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string counted(std::uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", with_separators(number), noun, number == 1 ? "" : "s");
}

}  // namespace crashgate::harness
