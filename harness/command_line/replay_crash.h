// The part of `crashgate replay` for a saved crash state.
#pragma once

#include <string>

namespace crashgate::harness {

/// Rebuilds the state from the case's trace and judges it: exit status 1 where it is rejected
/// again.
int replay_crash(const std::string& case_path, bool quiet);

}  // namespace crashgate::harness
