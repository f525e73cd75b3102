// `crashgate verify`: a registered store under all engines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

struct VerifyOptions {
  std::string store = "local-file";
  std::uint64_t seed = 1;
  double budget_seconds = 45;   // 0: no limit but the run limit
  std::uint64_t run_limit = 0;  // 0: none
  bool budget_given = false;    // then the sampling engine uses what is left of it
  unsigned jobs = 1;
  std::string out = ".crashgate";
  std::string json_path;  // empty: none; "-": standard output instead of the text
  bool quiet = false;
  std::vector<std::string> required_engines;
  Basis basis;
  std::vector<const PersistenceModel*> models;
  std::vector<std::string> fail_on;  // as in CheckOptions
  std::string command;               // the command line, for the report
};

/// Gives the exit status. Prints results on standard output, progress and errors on standard error.
int verify(const VerifyOptions& options);
/// One line a store: name, tab, `good` or `bad`, tab, what it is.
int list_stores();

}  // namespace crashgate::harness
