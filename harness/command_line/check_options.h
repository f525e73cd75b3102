// The options of `crashgate check` beyond the common ones.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "harness/command_line/check_command.h"

namespace crashgate::harness {

class CheckWords {
 public:
  void add_to(CLI::App& verb);
  /// Wrong words are thrown as CLI::ParseError.
  CheckCommand take() const;

 private:
  std::vector<FileSystemChoice> disks() const;

  CheckCommand checking_;
  std::string checker_loop_;
  double checker_timeout_ = 10;
  std::string recorder_ = "ptrace";
  double workload_timeout_ = 600;
  std::vector<std::string> disks_;
  std::string make_options_;
  std::string mount_options_;
};

}  // namespace crashgate::harness
