#include "harness/litmus/litmus_comparison.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/litmus/litmus_outcome.h"

namespace crashgate::harness {

LitmusComparison::LitmusComparison(const LitmusProgram& program, const faultinject::Trace& trace,
                                   const PersistenceModel& model, const Basis& basis,
                                   std::uint64_t model_state_limit)
    : program_(program),
      trace_(trace),
      model_(model),
      basis_(basis),
      limit_(model_state_limit),
      before_(tree_of(trace, trace.initial)),
      after_(predicted_tree(trace)),
      all_acknowledged_(acknowledgements(trace).size()) {
  CrashStateEnumerator enumerator(trace, model, {.basis = basis, .state_limit = limit_});
  while (const CrashState* state = enumerator.next()) {
    allowed_.insert({state->tree_hash, state->acknowledgement_end});
    if (state->acknowledgement_end == all_acknowledged_)
      outcomes_allowed_.insert(litmus_outcome(program_.looks, before_, after_, *state->tree));
  }
  exhaustive_ = enumerator.exhaustive();
}

void LitmusComparison::see(const DirectoryTree& tree, std::size_t acknowledged) {
  const LitmusState state{hash_of(tree), acknowledged};
  auto known = outcome_of_tree_.find(state.tree_hash);
  if (known == outcome_of_tree_.end()) {
    known = outcome_of_tree_
                .emplace(state.tree_hash, litmus_outcome(program_.looks, before_, after_, tree))
                .first;
  }
  if (acknowledged == all_acknowledged_) ++outcomes_seen_[known->second];
  if (allowed_.contains(state)) {
    seen_.insert(state);
    return;
  }
  if (!exhaustive_) {
    ++undecided_;
    return;
  }
  Contradiction& found = contradictions_[state];
  if (found.count++ > 0) return;
  const std::string told = acknowledgements(trace_).substr(0, acknowledged);
  found.state = state;
  found.steps_acknowledged = static_cast<std::size_t>(std::ranges::count(told, '\n'));
  found.outcome = known->second;
  found.difference = difference_from_nearest(tree, acknowledged);
}

std::vector<Contradiction> LitmusComparison::contradictions() const {
  std::vector<Contradiction> list;
  for (const auto& [state, contradiction] : contradictions_) list.push_back(contradiction);
  return list;
}

std::string LitmusComparison::difference_from_nearest(const DirectoryTree& tree,
                                                      std::size_t acknowledged) const {
  std::size_t nearest = std::numeric_limits<std::size_t>::max();
  std::string difference = "nothing is allowed with these acknowledgements";
  CrashStateEnumerator enumerator(trace_, model_, {.basis = basis_, .state_limit = limit_});
  while (const CrashState* state = enumerator.next()) {
    if (state->acknowledgement_end != acknowledged) continue;
    const std::size_t paths = distance(*state->tree, tree);
    if (paths >= nearest) continue;
    nearest = paths;
    difference = first_difference(*state->tree, tree);
  }
  return difference;
}

}  // namespace crashgate::harness
