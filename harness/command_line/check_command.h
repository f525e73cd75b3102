// `crashgate check` and `crashgate models`.
#pragma once

#include <string>

#include "harness/check/check_run.h"

namespace crashgate::harness {

struct CheckCommand {
  CheckOptions check;
  std::string json_path;  // empty: none; "-": standard output instead of the text
  bool quiet = false;
};

/// Gives the exit status. Prints results on standard output, progress and errors on standard error.
int check(CheckCommand command);
/// One line a model.
int list_models();

}  // namespace crashgate::harness
