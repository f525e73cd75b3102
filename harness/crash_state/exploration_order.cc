// A generator: for each phase, for each point, for each step. A phase that goes over all points in
// their order sweeps the trace twice (new code first, then the rest), and each sweep costs what the
// trace issues and forces.
//
// Descents give each set of micro-operations once over all points: states that contain what will be
// forced by the time of the next point are left to that point, by numbering that first and starting
// behind it.
#include "harness/crash_state/exploration_order.h"

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "harness/crash_state/tree_hash.h"

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::Trace;
using faultinject::TraceEvent;

constexpr std::uint64_t kFewIdeals = 65536;
constexpr std::uint32_t kDrawsPerRound = 64;

/// What makes the crash points of two events look alike.
std::uint64_t code_key(const Trace& trace, const MicroOperations& all, std::uint32_t event) {
  const TraceEvent& made = trace.events[event];
  const std::uint32_t first = all.first_of_event[event];
  const std::uint64_t kind = first == all.first_of_event[event + 1]
                                 ? UINT64_MAX
                                 : static_cast<std::uint64_t>(all.operations[first].kind);
  const std::uint64_t stack = tree_hash::text({reinterpret_cast<const char*>(made.stack.data()),
                                               made.stack.size() * sizeof(std::uint64_t)});
  return tree_hash::mix(static_cast<std::uint64_t>(made.row), tree_hash::mix(kind, stack));
}

}  // namespace

ExplorationOrder::ExplorationOrder(const Trace& trace, const MicroOperations& micro_operations,
                                   const Durability& durability, CrashMoment& moment,
                                   std::uint64_t seed, std::uint64_t state_limit)
    : all_(micro_operations),
      durability_(durability),
      moment_(moment),
      state_limit_(state_limit),
      random_(seed) {
  find_points(trace, micro_operations);
}

void ExplorationOrder::find_points(const Trace& trace, const MicroOperations& micro_operations) {
  const std::uint32_t last = durability_.moments() - 1;
  std::vector<bool> forces(last + 2, false);  // something is forced at that moment
  for (const std::uint32_t forced : durability_.forced) {
    if (forced != kNever) forces[forced] = true;
  }
  std::unordered_set<std::uint64_t> seen;
  bool is_fresh = false;
  for (std::uint32_t moment = 0; moment <= last; ++moment) {
    if (moment < last) {
      const std::uint32_t event = durability_.event_of_moment[moment];
      is_fresh |= seen.insert(code_key(trace, micro_operations, event)).second;
      if (!forces[moment + 1] &&
          durability_.acknowledged[moment] == durability_.acknowledged[moment + 1]) {
        continue;
      }
    }
    if (!points_.empty() &&
        durability_.acknowledged[points_.back().moment] == durability_.acknowledged[moment]) {
      points_.back().later = moment;
    }
    points_.push_back({.moment = moment, .is_fresh = is_fresh || moment == last});
    is_fresh = false;
  }
  std::ranges::stable_partition(points_, &Point::is_fresh);
}

std::uint32_t ExplorationOrder::event_of(std::uint32_t element) const {
  return all_.operations[moment_.poset().members[element].front()].event;
}

bool ExplorationOrder::next() {
  while (phase_ != Phase::kEnd) {
    if (is_open_ && step()) return true;
    if (is_open_) {
      is_open_ = false;
      ++point_;
    }
    if (point_ == points_.size()) {
      const bool again =
          phase_ == Phase::kSamples && !std::ranges::all_of(points_, [](const Point& point) {
            return point.done || point.saturated;
          });
      if (!again) phase_ = static_cast<Phase>(static_cast<int>(phase_) + 1);
      point_ = 0;
      begin_phase();
      continue;
    }
    is_open_ = open_point();
    if (!is_open_) ++point_;
  }
  return false;
}

void ExplorationOrder::note(bool is_new) {
  if (!is_new) return;
  ++new_states_;
  ++new_draws_;
}

void ExplorationOrder::begin_phase() {
  if (phase_ != Phase::kSmallPoints) return;
  const std::uint64_t left = state_limit_ - std::min(state_limit_, new_states_);
  few_ = std::clamp<std::uint64_t>(left / points_.size(), 16, kFewIdeals);
}

/// False where the phase has nothing to do at this point.
bool ExplorationOrder::open_point() {
  Point& point = points_[point_];
  if (point.done || (phase_ == Phase::kSamples && point.saturated)) return false;
  moment_.move_to(point.moment);
  const MicroOperationPoset& poset = moment_.poset();
  step_ = 0;
  call_end_ = 0;
  draws_ = 0;
  new_draws_ = 0;
  ideal_ = poset.none();
  before_call_ = poset.none();
  if (phase_ == Phase::kSmallPoints || phase_ == Phase::kAllPoints) {
    if (!start_descent()) {
      point.done = true;
      return false;
    }
    if (phase_ == Phase::kSmallPoints && !has_few_ideals()) return false;
    point.done = true;
  }
  return true;
}

bool ExplorationOrder::step() {
  const MicroOperationPoset& poset = moment_.poset();
  const std::uint32_t element = step_++;
  switch (phase_) {
    case Phase::kLeast:
      return element == 0;
    case Phase::kPrefixes:
      if (element > poset.size()) return false;
      if (element > 0 && poset.can_add(ideal_, element - 1)) insert(ideal_, element - 1);
      return true;
    case Phase::kAllButOne:
      if (element == 0) poset.fill(before_call_, 0);
      if (element == poset.size()) return false;
      ideal_ = before_call_;
      poset.remove_with_dependents(ideal_, element);
      return true;
    case Phase::kOneAhead:
      if (element == poset.size()) return false;
      ideal_ = poset.none();
      if (!poset.add_with_needs(ideal_, element)) ideal_ = poset.none();
      return true;
    case Phase::kWithinCalls:
      return step_within_calls();
    case Phase::kSmallPoints:
    case Phase::kAllPoints:
      return element == 0 || poset.next(ideal_);
    case Phase::kSamples:
      if (draws_ == kDrawsPerRound) {
        points_[point_].saturated = new_draws_ < kDrawsPerRound / 2;
        return false;
      }
      ++draws_;
      draw();
      return true;
    case Phase::kEnd:
      break;
  }
  return false;
}

/// Two steps for each element of a call that has several: all before the call and this one, all up
/// to the end of the call without this one.
bool ExplorationOrder::step_within_calls() {
  const MicroOperationPoset& poset = moment_.poset();
  for (std::uint32_t step = step_ - 1; step / 2 < poset.size(); step = step_++) {
    const std::uint32_t element = step / 2;
    if (element == call_end_ && step % 2 == 0) {
      if (element > 0) before_call_ = through_call_;
      through_call_ = before_call_;
      while (call_end_ < poset.size() && event_of(call_end_) == event_of(element)) {
        if (poset.can_add(through_call_, call_end_)) insert(through_call_, call_end_);
        ++call_end_;
      }
      if (call_end_ == element + 1) {
        step_ += 1;  // alone
        continue;
      }
    }
    if (step % 2 == 0) {
      ideal_ = before_call_;
      if (!poset.add_with_needs(ideal_, element)) ideal_ = before_call_;
    } else {
      ideal_ = through_call_;
      poset.remove_with_dependents(ideal_, element);
    }
    return true;
  }
  return false;
}

/// The first ideal of the descent; false where all states are left to the next point.
bool ExplorationOrder::start_descent() {
  const std::uint32_t later = points_[point_].later;
  ElementSet lower = moment_.poset().none();
  if (later != kNever) {
    for (std::uint32_t element = 0; element < moment_.poset().size(); ++element) {
      if (durability_.forced[moment_.poset().members[element].front()] <= later &&
          !moment_.poset().add_with_needs(lower, element)) {
        lower = moment_.poset().none();
        break;
      }
    }
  }
  moment_.renumber(lower);
  std::uint32_t count = 0;
  for (const std::uint64_t word : lower) count += static_cast<std::uint32_t>(std::popcount(word));
  ideal_ = moment_.poset().none();
  if (count == 0) {
    moment_.poset().fill(ideal_, 0);
    return true;
  }
  for (std::uint32_t element = 0; element < count; ++element) insert(ideal_, element);
  return moment_.poset().next(ideal_);
}

bool ExplorationOrder::has_few_ideals() {
  ElementSet ideal = ideal_;
  for (std::uint64_t count = 1; count <= few_; ++count) {
    if (!moment_.poset().next(ideal)) return true;
  }
  return false;
}

void ExplorationOrder::draw() {
  const MicroOperationPoset& poset = moment_.poset();
  const std::uint64_t threshold = random_();
  ideal_ = poset.none();
  for (std::uint32_t element = 0; element < poset.size(); ++element) {
    if (random_() <= threshold && poset.can_add(ideal_, element)) insert(ideal_, element);
  }
}

}  // namespace crashgate::harness
