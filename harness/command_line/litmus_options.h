// The options of `crashgate litmus`.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "harness/command_line/litmus_command.h"

namespace crashgate::harness {

class LitmusWords {
 public:
  void add_to(CLI::App& verb);
  /// `words`: the whole command line, for the report. Wrong words are thrown as CLI::ParseError.
  LitmusCommand take(const std::string& words) const;

 private:
  LitmusCommand command_;
  std::optional<std::string> budget_;
};

}  // namespace crashgate::harness
