// `crashgate replay CASE`: one saved finding, again.
#pragma once

#include <string>

namespace crashgate::harness {

/// Runs the case's plan and judges it. Exit status 1 where the violation shows again, 0 where it
/// does not.
int replay(const std::string& case_path, bool quiet);

}  // namespace crashgate::harness
