// Holds what was seen on a recorded disk against what a persistence model allows for the same
// trace.
//
// Sound: whatever is seen is allowed. Tight: whatever is allowed is seen. Both in pairs of tree and
// acknowledgements; a model that is not sound is wrong, one that is not tight may be too careful,
// or too little was tried.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "faultinject/trace.h"
#include "harness/crash_state/directory_tree.h"
#include "harness/crash_state/persistence_model.h"
#include "harness/litmus/litmus_program.h"

namespace crashgate::harness {

/// Told apart by the hash of the tree and the bytes that had been acknowledged.
struct LitmusState {
  std::uint64_t tree_hash = 0;
  std::size_t acknowledged = 0;
  auto operator<=>(const LitmusState&) const = default;
};

/// What was seen and is not allowed.
struct Contradiction {
  LitmusState state;
  std::uint64_t count = 0;             // disk states
  std::size_t steps_acknowledged = 0;  // of the program
  std::string outcome;
  /// Against the nearest of the trees that are allowed with these acknowledgements.
  std::string difference;
};

class LitmusComparison {
 public:
  /// All must outlive it. `model_state_limit`: of distinct states.
  LitmusComparison(const LitmusProgram& program, const faultinject::Trace& trace,
                   const PersistenceModel& model, const Basis& basis,
                   std::uint64_t model_state_limit);

  /// A recovered tree, and how many bytes had been acknowledged by then.
  void see(const DirectoryTree& tree, std::size_t acknowledged);

  /// Whether all that the model allows is known: else what is not known to be allowed is undecided,
  /// and no contradiction.
  bool is_exhaustive() const { return exhaustive_; }
  std::uint64_t allowed() const { return allowed_.size(); }
  std::uint64_t seen_and_allowed() const { return seen_.size(); }
  std::uint64_t undecided() const { return undecided_; }  // disk states
  std::vector<Contradiction> contradictions() const;

  /// Outcomes (litmus_outcome.h) once all steps had been acknowledged; seen: in how many disk
  /// states.
  const std::set<std::string>& outcomes_allowed() const { return outcomes_allowed_; }
  const std::map<std::string, std::uint64_t>& outcomes_seen() const { return outcomes_seen_; }

 private:
  std::string difference_from_nearest(const DirectoryTree& tree, std::size_t acknowledged) const;

  const LitmusProgram& program_;
  const faultinject::Trace& trace_;
  const PersistenceModel& model_;
  const Basis basis_;
  const std::uint64_t limit_;
  DirectoryTree before_;
  DirectoryTree after_;
  std::size_t all_acknowledged_ = 0;
  bool exhaustive_ = false;
  std::set<LitmusState> allowed_;
  std::set<LitmusState> seen_;
  std::map<LitmusState, Contradiction> contradictions_;
  std::map<std::uint64_t, std::string> outcome_of_tree_;
  std::uint64_t undecided_ = 0;
  std::set<std::string> outcomes_allowed_;
  std::map<std::string, std::uint64_t> outcomes_seen_;
};

}  // namespace crashgate::harness
