// Small plans that the exhaustive engines disturb in every way: each operation, on a key that is
// absent and on one that is there, in old and new directories, with payloads around the sizes at
// which stores go wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/plan/plan.h"

namespace crashgate::harness {

/// One process each, no faults.
std::vector<Plan> scenarios();
/// put and put_if_absent with payloads of every size that is worth a try.
std::vector<Plan> scenarios_by_size();

}  // namespace crashgate::harness
