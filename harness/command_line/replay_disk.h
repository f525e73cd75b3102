// `crashgate replay` of a saved state of a recorded disk.
#pragma once

#include <string>

namespace crashgate::harness {

/// Gives the exit status, as replay().
int replay_disk(const std::string& case_path, bool quiet);

}  // namespace crashgate::harness
