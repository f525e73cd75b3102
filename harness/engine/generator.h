// Generated plans (RapidCheck): workers, operations, keys, sizes, kills, errors and changes of
// turn.
#pragma once

#include <cstdint>

#include "harness/plan/plan.h"

namespace crashgate::harness {

/// The plan number `number` of a seed: always the same one. Unless `namespaces`, processes keep
/// their own process ids.
Plan generate_plan(std::uint64_t seed, std::uint64_t number, bool namespaces);

}  // namespace crashgate::harness
