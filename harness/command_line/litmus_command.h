// `crashgate litmus`: what the real file systems do, held against the models of their names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace crashgate::harness {

struct LitmusCommand {
  std::vector<std::string> file_systems;  // names; empty: all
  std::string make_options;               // words, for mkfs
  std::string mount_options;
  std::vector<std::string> programs;  // those of the table whose names contain one; empty: all
  std::uint64_t random = 0;
  bool is_long = false;
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  double budget_seconds = 0;
  std::uint64_t states_of_a_recording = 0;  // 0: the default
  std::string command;
  std::string json_path;
  bool quiet = false;
};

/// Gives the exit status. Prints results on standard output, progress and errors on standard error.
int litmus(const LitmusCommand& command);

}  // namespace crashgate::harness
