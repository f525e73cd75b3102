// The order in which the crash states of a trace are tried: crash_state_enumerator.h says which.
// The same state may come more than once.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "harness/crash_state/crash_moment.h"
#include "harness/crash_state/durability.h"
#include "harness/crash_state/micro_operation.h"

namespace crashgate::harness {

class ExplorationOrder {
 public:
  /// Moves `moment`, which nobody else may. All of these must outlive it.
  ExplorationOrder(const faultinject::Trace& trace, const MicroOperations& micro_operations,
                   const Durability& durability, CrashMoment& moment, std::uint64_t seed,
                   std::uint64_t state_limit);

  /// Goes on to the next ideal of the poset at the moment; false once all have been tried.
  bool next();
  const ElementSet& ideal() const { return ideal_; }
  /// To be called after each next(): whether that state had not been seen before.
  void note(bool is_new);

  /// Moments whose states are not all possible at a later one too.
  std::size_t points() const { return points_.size(); }

 private:
  enum class Phase : std::uint8_t {
    kLeast,  // nothing but what is forced
    kPrefixes,
    kAllButOne,
    kOneAhead,
    kWithinCalls,  // torn blocks, sizes on the way: one element of a call without its others
    kSmallPoints,  // all ideals, of points that have few
    kSamples,      // random ideals of the others, in rounds, while most are new
    kAllPoints,    // all ideals of the others
    kEnd,
  };

  /// A moment to explore.
  struct Point {
    std::uint32_t moment = 0;
    std::uint32_t later = kNever;  // the next moment to explore, with the same acknowledgements
    bool is_fresh = false;         // new code led there
    bool done = false;             // all of its ideals have been tried
    bool saturated = false;        // most random ideals had been seen before
  };

  void find_points(const faultinject::Trace& trace, const MicroOperations& micro_operations);
  bool open_point();
  void begin_phase();
  bool step();
  bool step_within_calls();
  bool start_descent();
  bool has_few_ideals();
  void draw();
  std::uint32_t event_of(std::uint32_t element) const;

  const MicroOperations& all_;
  const Durability& durability_;
  CrashMoment& moment_;
  std::uint64_t state_limit_;
  std::uint64_t new_states_ = 0;
  std::mt19937_64 random_;
  std::vector<Point> points_;  // those that new code leads to first
  Phase phase_ = Phase::kLeast;
  std::size_t point_ = 0;
  bool is_open_ = false;
  std::uint32_t step_ = 0;
  ElementSet ideal_;
  ElementSet before_call_;
  ElementSet through_call_;
  std::uint32_t call_end_ = 0;  // the first element after the call
  std::uint64_t few_ = 0;
  std::uint32_t draws_ = 0;
  std::uint32_t new_draws_ = 0;
};

}  // namespace crashgate::harness
