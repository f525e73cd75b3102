#include "harness/judge/linearizability.h"

#include <algorithm>
#include <set>
#include <utility>

namespace crashgate::harness {
namespace {

constexpr std::int32_t kAbsent = -1;
constexpr std::int32_t kImpossible = -2;

// The state after `operation`, or kImpossible where the state before contradicts its answer.
std::int32_t apply(const KeyOperation& operation, std::int32_t state) {
  switch (operation.effect) {
    case Effect::kWrite:
      return operation.payload;
    case Effect::kWriteIfAbsent:
      return state == kAbsent ? operation.payload : kImpossible;
    case Effect::kErase:
      return kAbsent;
    case Effect::kReadPresent:
      return state != kAbsent && (operation.matches >> state & 1) != 0 ? state : kImpossible;
    case Effect::kReadAbsent:
      return state == kAbsent ? state : kImpossible;
  }
  return kImpossible;
}

struct Search {
  const std::vector<KeyOperation>& operations;
  std::uint64_t required = 0;
  std::set<std::pair<std::uint64_t, std::int32_t>> visited;

  bool complete(std::uint64_t placed, std::int32_t state) {
    if ((placed & required) == required) return true;
    if (!visited.emplace(placed, state).second) return false;
    std::uint64_t earliest_end = UINT64_MAX;  // of what must still come
    std::uint64_t latest_begin = 0;           // of what came
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const std::uint64_t bit = std::uint64_t{1} << i;
      if ((placed & bit) != 0)
        latest_begin = std::max(latest_begin, operations[i].begin);
      else if ((required & bit) != 0)
        earliest_end = std::min(earliest_end, operations[i].end);
    }
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const std::uint64_t bit = std::uint64_t{1} << i;
      const auto& next = operations[i];
      if ((placed & bit) != 0 || next.begin > earliest_end || next.end < latest_begin) continue;
      const auto after = apply(next, state);
      if (after != kImpossible && complete(placed | bit, after)) return true;
    }
    return false;
  }
};

}  // namespace

bool is_linearizable(const std::vector<KeyOperation>& operations) {
  Search search{operations, 0, {}};
  for (std::size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].required) search.required |= std::uint64_t{1} << i;
  }
  return search.complete(0, kAbsent);
}

}  // namespace crashgate::harness
