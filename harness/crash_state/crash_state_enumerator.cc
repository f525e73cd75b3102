// Lowers the trace, works out when what is issued and forced, and then shows one ideal after the
// other (exploration_order.h) in one tree that changes from state to state (crash_moment.h).
//
// A state is told with the earliest crash point that allows it. Of two moments with the same
// acknowledgements the earlier one forces no more, and orders no less only where barriers free
// order: so it is the first moment at which all that has persisted was issued, among those with the
// same acknowledgements and the same freedom.
#include "harness/crash_state/crash_state_enumerator.h"

#include <algorithm>
#include <optional>

#include "harness/crash_state/crash_moment.h"
#include "harness/crash_state/crash_tree.h"
#include "harness/crash_state/durability.h"
#include "harness/crash_state/event_order.h"
#include "harness/crash_state/exploration_order.h"
#include "harness/crash_state/micro_operation.h"
#include "harness/crash_state/micro_operation_needs.h"
#include "harness/crash_state/micro_operation_texts.h"
#include "harness/crash_state/seen_set.h"
#include "harness/crash_state/tree_hash.h"

namespace crashgate::harness {

using faultinject::EventKind;
using faultinject::Trace;

namespace {

// What differs where nobody can see it, as data beyond a file's size, makes no new state, and there
// may be 2^n such.
constexpr std::uint64_t kMostRepeats = 1 << 18;

}  // namespace

struct CrashStateEnumerator::State {
  State(const Trace& recorded, LoweredTrace shared, const PersistenceModel& chosen,
        const EnumerationOptions& asked)
      : trace(recorded),
        model(chosen),
        options(asked),
        lowered(std::move(shared)),
        all(*lowered),
        needs(needs_of(trace, all, model)),
        durability(durability_of(trace, all, needs, model)),
        moment(trace, all, needs, durability, model),
        order(trace, all, durability, moment, options.seed, options.state_limit),
        texts(trace, all) {
    find_earliest_moments();
  }

  void find_earliest_moments() {
    const std::uint32_t moments = durability.moments();
    earliest.assign(moments, 0);
    for (std::size_t index = 0; index < all.operations.size(); ++index) {
      const std::uint32_t forced = durability.forced[index];
      if (forced < moments) earliest[forced] = std::max(earliest[forced], durability.issued[index]);
    }
    const bool is_freeing = model.metadata_in_order && model.fsync_frees_order;
    std::uint32_t first_alike = 0;
    for (std::uint32_t at = 1; at < moments; ++at) {
      if (durability.acknowledged[at] != durability.acknowledged[at - 1] ||
          (is_freeing && durability.freed_before[at] != durability.freed_before[at - 1])) {
        first_alike = at;
      }
      earliest[at] = std::max({earliest[at], earliest[at - 1], first_alike});
    }
  }

  std::uint64_t acknowledged() const { return durability.acknowledged[moment.moment()]; }

  const CrashState* fill(CrashState& state, CrashMoment& at, const ElementSet& ideal,
                         bool look_for_earliest) const {
    const MicroOperationPoset& poset = at.poset();
    const auto issued = [&](std::uint32_t element) {
      return durability.issued[poset.members[element].front()];
    };
    std::uint32_t when = at.moment();
    if (look_for_earliest) {
      when = earliest[at.moment()];
      for (std::uint32_t element = 0; element < poset.size(); ++element) {
        if (contains(ideal, element)) when = std::max(when, issued(element));
      }
    }
    state.crash_point = durability.event_of_moment[when];
    state.acknowledgement_end = durability.acknowledged[when];
    state.tree = &at.tree().tree();
    state.tree_hash = at.tree().hash();
    state.lost.clear();
    for (std::uint32_t element = 0; element < poset.size(); ++element) {
      if (contains(ideal, element) || issued(element) > when) continue;
      const auto members = poset.members[element];
      state.lost.insert(state.lost.end(), members.begin(), members.end());
    }
    if (!std::ranges::is_sorted(state.lost)) std::ranges::sort(state.lost);
    return &state;
  }

  const Trace& trace;
  const PersistenceModel model;
  const EnumerationOptions options;
  const LoweredTrace lowered;
  const MicroOperations& all;
  const MicroOperationNeeds needs;
  const Durability durability;
  CrashMoment moment;
  ExplorationOrder order;
  std::vector<std::uint32_t> earliest;  // by moment: the first one where what is forced there is
                                        // issued, with the same acknowledgements and freedom
  SeenSet seen;
  CrashState current;
  std::uint64_t given = 0;
  std::uint64_t repeats = 0;  // states in a row that had been given before
  bool ended = false;
  bool all_given = false;
  std::optional<CrashMoment> replay_moment;
  CrashState replayed;
  MicroOperationTexts texts;
};

CrashStateEnumerator::CrashStateEnumerator(const Trace& trace, const PersistenceModel& model,
                                           const EnumerationOptions& options)
    : CrashStateEnumerator(trace, lower_to_share(trace, options.basis), model, options) {}
CrashStateEnumerator::CrashStateEnumerator(const Trace& trace, LoweredTrace lowered,
                                           const PersistenceModel& model,
                                           const EnumerationOptions& options)
    : state_(std::make_unique<State>(trace, std::move(lowered), model, options)) {}
CrashStateEnumerator::CrashStateEnumerator(CrashStateEnumerator&&) noexcept = default;
CrashStateEnumerator::~CrashStateEnumerator() = default;

const CrashState* CrashStateEnumerator::next() {
  State& state = *state_;
  while (!state.ended) {
    if (!state.order.next()) {
      state.ended = state.all_given = true;
      break;
    }
    state.moment.show(state.order.ideal());
    const bool is_new =
        state.seen.insert(tree_hash::mix(state.moment.tree().hash(), state.acknowledged()));
    state.order.note(is_new);
    state.repeats = is_new ? 0 : state.repeats + 1;
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
    return state.fill(state.current, state.moment, state.order.ideal(), true);
  }
  return nullptr;
}

bool CrashStateEnumerator::exhaustive() const {
  return state_->all_given;
}
std::size_t CrashStateEnumerator::crash_points() const {
  return state_->order.points();
}
std::uint64_t CrashStateEnumerator::states_given() const {
  return state_->given;
}

const CrashState* CrashStateEnumerator::state_without(std::size_t crash_point,
                                                      const std::vector<std::uint32_t>& lost) {
  State& state = *state_;
  const auto& events = state.durability.event_of_moment;
  const auto found = std::ranges::find(events, crash_point);
  if (found == events.end()) return nullptr;
  if (!state.replay_moment) {
    state.replay_moment.emplace(state.trace, state.all, state.needs, state.durability, state.model);
  }
  CrashMoment& moment = *state.replay_moment;
  moment.move_to(static_cast<std::uint32_t>(found - events.begin()));
  const MicroOperationPoset& poset = moment.poset();
  ElementSet ideal = poset.none();
  poset.fill(ideal, 0);
  std::size_t found_lost = 0;
  for (std::uint32_t element = 0; element < poset.size(); ++element) {
    const auto is_lost = [&](std::uint32_t member) {
      return std::ranges::binary_search(lost, member);
    };
    const auto count = std::ranges::count_if(poset.members[element], is_lost);
    if (count > 0) poset.remove_with_dependents(ideal, element);
    found_lost += static_cast<std::size_t>(count);
  }
  if (found_lost != lost.size()) return nullptr;  // forced already, or not issued yet
  moment.show(ideal);
  return state.fill(state.replayed, moment, ideal, false);
}

MicroOperationText CrashStateEnumerator::describe(std::uint32_t micro_operation) const {
  return {state_->all.operations[micro_operation].event, state_->texts.describe(micro_operation)};
}

LoweredTrace lower_to_share(const Trace& trace, const Basis& basis) {
  return std::make_shared<const MicroOperations>(lower(trace, basis));
}

DirectoryTree predicted_tree(const Trace& trace) {
  const MicroOperations all = lower(trace, Basis{});
  CrashTree tree(all);
  for (std::uint32_t index = 0; index < all.operations.size(); ++index) tree.apply(index);
  return tree.tree();
}

std::string acknowledgements(const Trace& trace) {
  std::string text;
  for (const std::uint32_t event : events_by_end(trace)) {
    if (trace.events[event].kind == EventKind::kAcknowledgement) {
      text += trace.data(trace.events[event].data);
    }
  }
  return text;
}

}  // namespace crashgate::harness
