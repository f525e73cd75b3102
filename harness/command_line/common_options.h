// Options that the verbs which explore have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/command_line/check_command.h"
#include "harness/command_line/verify_command.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

struct Budget {
  double seconds = 0;  // 0: none
  std::uint64_t states = 0;
};
/// A whole number without a sign, of 64 bits: CLI11 by itself makes -1 the greatest of all.
CLI::Validator whole_number();

/// For a verb where no file is disposable: --ignore is refused with the reason.
void refuse_ignore(CLI::App& verb, const std::string& reason);

/// "60s", "10m", "1h" or "20000states" (runs, for verify); else throws CLI::ValidationError.
Budget parse_budget(const std::string& text);

struct CommonOptions {
  std::uint64_t seed = 1;
  std::optional<std::string> budget;
  unsigned jobs = 1;
  std::string out = ".crashgate";
  std::string json_path;
  bool quiet = false;
  std::vector<std::string> models;
  std::vector<std::string> fail_on;
  std::vector<std::string> required_engines;

  void add_to(CLI::App& verb, const std::string& default_budget);

  /// `command`: the whole command line, for the report. Wrong words are thrown as CLI::ParseError.
  void take(const std::string& command, VerifyOptions& options) const;
  void take(const std::string& command, CheckCommand& checking) const;
};

}  // namespace crashgate::harness
