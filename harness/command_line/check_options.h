// The words of `crashgate check` into its options. Errors in words are CLI::ParseErrors.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "harness/command_line/check_command.h"
#include "harness/command_line/common_options.h"

namespace crashgate::harness {

class CheckWords {
 public:
  /// Must outlive the app's parsing.
  explicit CheckWords(CLI::App& app);
  CheckWords(const CheckWords&) = delete;
  CheckWords& operator=(const CheckWords&) = delete;

  bool parsed() const { return verb_->parsed(); }
  /// Once they are parsed. `command_line`: all words, for the report.
  CheckCommand command(const std::string& command_line) const;

 private:
  CLI::App* verb_;
  CommonOptions common_;
  CheckCommand command_;
  double checker_timeout_ = 10;
  std::string recorder_ = "ptrace";
  double workload_timeout_ = 600;
  std::string checker_loop_;
};

}  // namespace crashgate::harness
