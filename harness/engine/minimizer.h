// Makes a failing plan smaller while it fails in the same way.
#pragma once

#include <cstdint>

#include "harness/engine/exploration.h"

namespace crashgate::harness {

struct Minimized {
  Plan plan;
  Violation violation;
  History history;         // of the minimal plan's last run
  std::uint64_t runs = 0;  // that it took
};

/// A plan none of whose single shrinks shows a violation of the same kind, or the smallest found by
/// `deadline`. Shrinks: a process, an operation, a fault, a change of turn, a foreign object less;
/// no small disk, no limit of descriptors; a simpler key, a smaller payload, an earlier call, a
/// smaller disk or limit. Null history calls mean that `plan` did not fail when run again, which
/// the caller reports as flaky.
Result<Minimized> minimize(Runner& runner, const Plan& plan, FindingKind kind,
                           Clock::time_point deadline);

/// Every plan that is one step smaller, most rewarding first.
std::vector<Plan> smaller_plans(const Plan& plan);

}  // namespace crashgate::harness
