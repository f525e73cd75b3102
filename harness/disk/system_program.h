// Programs of the system that make and check file systems: found, run without a shell, and heard.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

/// Of PATH, and of where administrators' programs are and a user's PATH may not lead. Empty: not
/// there.
std::string find_system_program(std::string_view name);

struct ProgramEnd {
  int exit_status = 0;  // 128 plus the signal where one ended it
  std::string output;   // standard output and standard error
};

/// `words`: the program's name and its arguments. Runs until it ends, with the C locale. NotFound:
/// there is no such program. It finds no block devices but those that it is given: mkfs.btrfs
/// would refuse an identity that is mounted elsewhere.
Result<ProgramEnd> run_system_program(const std::vector<std::string>& words);

std::vector<std::string> split_words(std::string_view text);

/// Without what is empty.
std::vector<std::string> split_lines(std::string_view text);

}  // namespace crashgate::harness
