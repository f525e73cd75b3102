// From one acknowledgement, and from one flush that forces something, to the next, the last moment
// has all states of those before: the more has begun, the more may be there. So each such interval
// is one crash point, looked at from its end. A state is told with the earliest stamp of its
// interval at which all that is there had begun.
//
// A generator: for each phase, for each point, for each step.
#include "harness/disk/disk_state_enumerator.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <random>

#include "harness/crash_state/seen_set.h"
#include "harness/crash_state/tree_hash.h"
#include "harness/disk/disk_moment.h"

namespace crashgate::harness {

using faultinject::BlockTrace;

namespace {

constexpr std::uint64_t kFewSubsets = 65536;
constexpr std::uint64_t kMostRepeats = 1 << 18;
constexpr std::uint32_t kDrawsPerRound = 64;

enum class Phase : std::uint8_t {
  kLeast,  // nothing but what is forced
  kPrefixes,
  kAllButOne,
  kOneAlone,
  kFew,      // all subsets, of points that have few
  kSamples,  // random subsets of the others, in rounds, while most are new
  kRest,     // all subsets of the others
  kEnd,
};

struct Point {
  std::uint64_t first = 0;  // stamps
  std::uint64_t last = 0;
  std::size_t acknowledgement = 0;
  bool done = false;       // all of its subsets have been tried
  bool saturated = false;  // most random subsets had been seen before
};

/// Choices of one request, or one of them: [begin, end).
struct Unit {
  std::size_t begin = 0;
  std::size_t end = 0;
};

}  // namespace

struct DiskStateEnumerator::State {
  State(const BlockTrace& trace, std::uint64_t first_stamp,
        std::vector<std::uint64_t> acknowledgement_stamps, const DiskEnumerationOptions& asked)
      : options(asked),
        acknowledged(std::move(acknowledgement_stamps)),
        begin(first_stamp),
        end(std::max(first_stamp, trace.last_stamp)),
        layers(layers_of(trace, first_stamp, options.basis)),
        moment(layers),
        random(options.seed) {
    find_points();
  }

  std::size_t acknowledgement_at(std::uint64_t stamp) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(acknowledged, stamp) -
                                    acknowledged.begin());
  }

  void find_points() {
    std::vector<std::uint64_t> changes = acknowledged;
    changes.insert(changes.end(), layers.forced.begin(), layers.forced.end());
    std::erase_if(changes, [&](std::uint64_t stamp) { return stamp <= begin || stamp > end; });
    changes.push_back(begin);
    std::ranges::sort(changes);
    changes.erase(std::unique(changes.begin(), changes.end()), changes.end());
    for (std::size_t at = 0; at < changes.size(); ++at) {
      points.push_back({.first = changes[at],
                        .last = at + 1 < changes.size() ? changes[at + 1] - 1 : end,
                        .acknowledgement = acknowledgement_at(changes[at])});
    }
  }

  /// Goes on to the next subset; false once all have been tried.
  bool step_on() {
    while (phase != Phase::kEnd) {
      if (is_open && step()) return true;
      if (is_open) {
        is_open = false;
        ++point;
      }
      if (point == points.size()) {
        const bool again =
            phase == Phase::kSamples &&
            !std::ranges::all_of(points, [](const Point& at) { return at.done || at.saturated; });
        if (!again) phase = static_cast<Phase>(static_cast<int>(phase) + 1);
        point = 0;
        if (phase == Phase::kFew) {
          const std::uint64_t left = options.state_limit - std::min(options.state_limit, given);
          few = std::clamp<std::uint64_t>(left / points.size(), 16, kFewSubsets);
        }
        continue;
      }
      is_open = open_point();
      if (!is_open) ++point;
    }
    return false;
  }

  /// False where the phase has nothing to do at this point.
  bool open_point() {
    Point& at = points[point];
    if (at.done || (phase == Phase::kSamples && at.saturated)) return false;
    moment.move_to(at.last);
    steps = 0;
    new_draws = 0;
    const std::size_t count = moment.choices().size();
    if (phase == Phase::kAllButOne || phase == Phase::kOneAlone || phase == Phase::kSamples) {
      find_units();
    }
    if (phase == Phase::kAllButOne) set_all(true);
    if (phase == Phase::kFew && (count >= 64 || (std::uint64_t{1} << count) > few)) return false;
    if (phase == Phase::kFew || phase == Phase::kRest) at.done = true;
    return true;
  }

  /// Requests first, then their pieces where they have several.
  void find_units() {
    units.clear();
    const auto& choices = moment.choices();
    const auto request_of = [&](std::size_t at) { return layers.pieces[choices[at]].request; };
    for (std::size_t at = 0; at < choices.size();) {
      const std::size_t first = at;
      while (at < choices.size() && request_of(at) == request_of(first)) ++at;
      units.push_back({first, at});
    }
    requests = units.size();
    for (std::size_t at = 0; at < requests; ++at) {
      for (auto [piece, last] = units[at]; last - units[at].begin > 1 && piece < last; ++piece) {
        units.push_back({piece, piece + 1});
      }
    }
  }

  void set_all(bool there) { set({0, moment.choices().size()}, there); }
  void set(const Unit& unit, bool there) {
    for (std::size_t choice = unit.begin; choice < unit.end; ++choice) moment.set(choice, there);
  }

  bool step() {
    const std::uint64_t now = steps++;
    const std::size_t count = moment.choices().size();
    switch (phase) {
      case Phase::kLeast:
        return now == 0;
      case Phase::kPrefixes:
        if (now >= count) return false;
        moment.flip(now);
        return true;
      case Phase::kAllButOne:
      case Phase::kOneAlone: {
        const bool others = phase == Phase::kAllButOne;
        if (now > 0) set(units[now - 1], others);
        if (now == units.size()) return false;
        set(units[now], !others);
        return true;
      }
      case Phase::kFew:
      case Phase::kRest: {
        // A Gray code: each subset differs from the one before in one piece.
        const std::uint64_t code = now + 1;
        if (count < 64 && code >> count != 0) return false;
        moment.flip(static_cast<std::size_t>(std::countr_zero(code)));
        return true;
      }
      case Phase::kSamples:
        if (now == kDrawsPerRound) {
          points[point].saturated = new_draws < kDrawsPerRound / 2;
          return false;
        }
        draw();
        return true;
      case Phase::kEnd:
        break;
    }
    return false;
  }

  /// Every other time whole requests only.
  void draw() {
    const bool whole = (random() & 1) != 0;
    const std::uint64_t threshold = random();
    for (std::size_t at = 0; at < requests; ++at) {
      const bool there = random() <= threshold;
      for (std::size_t choice = units[at].begin; choice < units[at].end; ++choice) {
        moment.set(choice, whole ? there : random() <= threshold);
      }
    }
  }

  const DiskState* fill() {
    const Point& at = points[point];
    const auto& choices = moment.choices();
    current.stamp = at.first;
    for (std::size_t choice = 0; choice < choices.size(); ++choice) {
      if (moment.is_there(choice))
        current.stamp = std::max(current.stamp, layers.begun[choices[choice]]);
    }
    current.acknowledgement = at.acknowledgement;
    current.hash = moment.hash();
    current.lost.clear();
    for (std::size_t choice = 0; choice < choices.size(); ++choice) {
      if (!moment.is_there(choice) && layers.begun[choices[choice]] <= current.stamp)
        current.lost.push_back(choices[choice]);
    }
    return &current;
  }

  const DiskEnumerationOptions options;
  const std::vector<std::uint64_t> acknowledged;
  const std::uint64_t begin;  // of the crash points: stamps
  const std::uint64_t end;
  const DiskLayers layers;
  DiskMoment moment;
  std::mt19937_64 random;
  std::vector<Point> points;
  Phase phase = Phase::kLeast;
  std::size_t point = 0;
  bool is_open = false;
  std::uint64_t steps = 0;
  std::vector<Unit> units;
  std::size_t requests = 0;  // the first of `units`
  std::uint64_t few = 0;
  std::uint32_t new_draws = 0;
  SeenSet seen;
  DiskState current;
  std::uint64_t given = 0;
  std::uint64_t repeats = 0;  // states of kRest in a row that had been given before
  bool ended = false;
  bool all_given = false;
  std::optional<DiskMoment> replay_moment;
  DiskState replayed;
};

DiskStateEnumerator::DiskStateEnumerator(const BlockTrace& trace, std::uint64_t first_stamp,
                                         std::vector<std::uint64_t> acknowledgement_stamps,
                                         const DiskEnumerationOptions& options)
    : state_(std::make_unique<State>(trace, first_stamp, std::move(acknowledgement_stamps),
                                     options)) {}
DiskStateEnumerator::DiskStateEnumerator(DiskStateEnumerator&&) noexcept = default;
DiskStateEnumerator::~DiskStateEnumerator() = default;

const DiskState* DiskStateEnumerator::next() {
  State& state = *state_;
  while (!state.ended) {
    if (!state.step_on()) {
      state.ended = state.all_given = true;
      break;
    }
    const bool is_new = state.seen.insert(
        tree_hash::mix(state.moment.hash(), state.points[state.point].acknowledgement));
    state.repeats = is_new || state.phase != Phase::kRest ? 0 : state.repeats + 1;
    if (state.repeats > kMostRepeats) {
      state.ended = true;
      break;
    }
    if (!is_new) continue;
    if (state.given == state.options.state_limit) {
      state.ended = true;
      break;
    }
    ++state.given;
    ++state.new_draws;
    return state.fill();
  }
  return nullptr;
}

bool DiskStateEnumerator::exhaustive() const {
  return state_->all_given;
}
std::size_t DiskStateEnumerator::crash_points() const {
  return state_->points.size();
}
std::uint64_t DiskStateEnumerator::states_given() const {
  return state_->given;
}
const std::vector<DiskPiece>& DiskStateEnumerator::pieces() const {
  return state_->layers.pieces;
}

const DiskState* DiskStateEnumerator::state_without(std::uint64_t stamp,
                                                    const std::vector<std::uint32_t>& lost) {
  State& state = *state_;
  if (stamp < state.begin || stamp > state.end) return nullptr;
  if (!state.replay_moment) state.replay_moment.emplace(state.layers);
  DiskMoment& moment = *state.replay_moment;
  moment.move_to(stamp);
  for (const std::uint32_t piece : lost) {
    if (piece >= state.layers.pieces.size() || !moment.may_be_lost(piece)) return nullptr;
  }
  const auto& choices = moment.choices();
  for (std::size_t choice = 0; choice < choices.size(); ++choice) {
    if (!std::ranges::binary_search(lost, choices[choice])) moment.flip(choice);
  }
  state.replayed = {.stamp = stamp,
                    .acknowledgement = state.acknowledgement_at(stamp),
                    .hash = moment.hash(),
                    .lost = lost};
  return &state.replayed;
}

}  // namespace crashgate::harness
