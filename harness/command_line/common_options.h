// Options that the verbs that explore have in common. Errors in words are CLI::ParseErrors.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

struct Budget {
  double seconds = 0;  // 0: none
  std::uint64_t states = 0;
};

struct CommonOptions {
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  std::string out = ".crashgate";
  std::string json_path;
  bool quiet = false;

  void add_to(CLI::App& verb, const std::string& default_budget);
  /// Once the words have been parsed. Empty: none given.
  std::optional<Budget> budget() const;
  std::vector<const PersistenceModel*> models() const;
  std::vector<const PersistenceModel*> fail_on() const;

 private:
  std::optional<std::string> budget_word_;
  std::vector<std::string> model_names_;
  std::vector<std::string> fail_on_names_;
};

}  // namespace crashgate::harness
