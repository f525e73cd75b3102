// A barrier goes as late as it can: after the last change of what it is to force before the crash,
// the next acknowledgement or, for a file, before it is given another name. So a file that was
// written in many calls gets one, and what overtook the loss does not any more. Every barrier makes
// the state that called for it impossible; what later ones made superfluous goes in the end.
#include "harness/check/fix.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "harness/crash_state/micro_operation.h"
#include "harness/engine/exploration.h"

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::FileId;
using faultinject::Trace;
using faultinject::TraceEvent;

// Room between two stamps for the begins and ends of barriers.
constexpr std::uint64_t kStampStep = 64;

// Times the limit, before the superfluous ones go.
constexpr std::size_t kOnTheWay = 2;

bool names_in(const TraceEvent& event, FileId directory) {
  return event.kind == EventKind::kStorage &&
         (event.name.directory == directory || event.name2.directory == directory);
}

bool is_naming(const TraceEvent& event) {
  return event.kind == EventKind::kStorage &&
         faultinject::row_info(event.row).kind == faultinject::Kind::kName;
}

// Something lost, in a crash just before the stamp.
struct Lost {
  std::size_t event = 0;
  FileId file = faultinject::kNoFile;  // where it is an entry: the directory
  bool is_entry = false;
  std::uint64_t crash = UINT64_MAX;
};

// Where the barrier for it goes; nothing where it was still being done.
std::optional<AddedBarrier> barrier_for(const Trace& trace, const Lost& lost) {
  const auto has_returned = [&](const TraceEvent& event) {
    return event.end != 0 && event.end < lost.crash;
  };
  const auto [begin, file, is_entry, crash] = lost;
  if (!has_returned(trace.events[begin])) return std::nullopt;
  std::size_t after = begin;
  for (std::size_t i = begin + 1; i < trace.events.size(); ++i) {
    const auto& event = trace.events[i];
    if (event.kind == EventKind::kAcknowledgement) break;
    if (!is_entry && is_naming(event) && event.file == file) break;
    if (event.end > trace.events[after].end && has_returned(event) &&
        (is_entry ? names_in(event, file) : event.file == file)) {
      after = i;
    }
  }
  return AddedBarrier{after, file};
}

// What a rejected state of `changed`, with_barriers(trace, barriers), calls for beyond them; false:
// nothing new.
bool add_barriers(const Trace& trace, const Trace& changed, const Rejection& rejection,
                  const Basis& basis, std::vector<AddedBarrier>& barriers) {
  const auto lowered = lower_to_share(changed, basis);
  const auto there = barriers;
  const auto crash = rejection.crash_point < changed.events.size()
                         ? (changed.events[rejection.crash_point].end - 1) / kStampStep + 1
                         : UINT64_MAX;
  bool added = false;
  for (const auto index : rejection.lost) {
    const auto& operation = lowered->operations[index];
    // Every barrier before it moved it on by one.
    std::size_t event = operation.event;
    for (std::size_t i = there.size(); i-- > 0;) {
      if (there[i].after + i + 1 < operation.event) {
        event = operation.event - i - 1;
        break;
      }
    }
    const auto wanted = barrier_for(
        trace, {event, lowered->file_of(operation), operation.kind == LocationKind::kEntry, crash});
    if (!wanted) continue;
    const auto known = std::ranges::any_of(barriers, [&](const AddedBarrier& other) {
      return other.after == wanted->after && other.file == wanted->file;
    });
    if (known) continue;
    barriers.insert(std::ranges::upper_bound(barriers, wanted->after, {}, &AddedBarrier::after),
                    *wanted);
    added = true;
  }
  return added;
}

struct Trial {
  std::optional<Rejection> rejection;  // for the cause
  std::uint64_t states = 0;
  bool complete = true;
};

Result<Trial> try_all(const Trace& trace, const Rejection& rejection, const Basis& basis,
                      const StateJudge& judge, const FixLimits& limits,
                      Clock::time_point deadline) {
  Trial trial;
  std::unordered_set<std::uint64_t> judged;
  const auto lowered = lower_to_share(trace, basis);
  for (const auto& name : rejection.models) {
    CrashStateEnumerator states(trace, lowered, *find_model(name),
                                {.basis = basis, .state_limit = limits.states});
    while (const CrashState* state = states.next()) {
      if (!judged.insert(state->tree_hash * 31 + state->acknowledgement_end).second) continue;
      if (Clock::now() > deadline) {
        trial.complete = false;
        return trial;
      }
      ++trial.states;
      auto judgement = judge(*state);
      if (!judgement) return tl::unexpected(judgement.error());
      if (judgement->accepted || judgement->cause != rejection.judgement.cause) continue;
      trial.rejection = Rejection{.judgement = std::move(*judgement),
                                  .count = 1,
                                  .models = {name},
                                  .model = name,
                                  .crash_point = state->crash_point,
                                  .acknowledgement_end = state->acknowledgement_end,
                                  .lost = state->lost};
      return trial;
    }
    trial.complete = trial.complete && states.exhaustive();
  }
  return trial;
}

}  // namespace

nlohmann::json to_json(const Fix& fix) {
  auto barriers = nlohmann::json::array();
  for (const auto& barrier : fix.barriers) barriers.push_back({barrier.after, barrier.file});
  return {{"barriers", barriers}, {"states", fix.states}, {"verified", fix.verified}};
}

Fix fix_from_json(const nlohmann::json& json) {
  Fix fix{.states = json.at("states"), .verified = json.at("verified")};
  for (const auto& one : json.at("barriers")) fix.barriers.push_back({one.at(0), one.at(1)});
  return fix;
}

Trace with_barriers(const Trace& trace, const std::vector<AddedBarrier>& barriers) {
  Trace changed = trace;
  for (auto& event : changed.events) {
    event.begin *= kStampStep;
    event.end *= kStampStep;
  }
  std::uint64_t added = 0;
  for (const auto& barrier : barriers) {  // ascending
    const auto place = changed.events.begin() + static_cast<std::ptrdiff_t>(barrier.after + added);
    TraceEvent event;
    event.row = faultinject::Row::k_fsync;
    event.process = place->process;
    event.thread = place->thread;
    event.file = barrier.file;
    const auto stamp = trace.events[barrier.after].end * kStampStep + 2 * added;
    event.begin = stamp + 1;
    event.end = stamp + 2;
    changed.events.insert(place + 1, std::move(event));
    ++added;
  }
  return changed;
}

Result<std::optional<Fix>> find_fix(const CrashSubject& subject, const Rejection& rejection,
                                    const Basis& basis, const StateJudge& judge,
                                    std::deque<Trace>& tried, const FixLimits& limits) {
  const Trace& trace = *subject.trace;
  if (trace.bytes.size() > limits.trace_bytes) return std::nullopt;
  const auto deadline = Clock::now() + limits.time;
  const auto try_barriers = [&](const std::vector<AddedBarrier>& barriers) {
    return try_all(tried.emplace_back(with_barriers(trace, barriers)), rejection, basis, judge,
                   limits, deadline);
  };
  Fix fix;
  Rejection left = rejection;
  // The rejection's own trace, but for the room between its stamps.
  const Trace* changed = &tried.emplace_back(with_barriers(trace, {}));
  for (;;) {
    if (!add_barriers(trace, *changed, left, basis, fix.barriers)) return std::nullopt;
    if (fix.barriers.size() > kOnTheWay * limits.barriers) return std::nullopt;
    auto trial = try_barriers(fix.barriers);
    if (!trial) return tl::unexpected(trial.error());
    fix.states = trial->states;
    fix.verified = trial->complete && !trial->rejection;
    if (!trial->rejection) break;
    if (Clock::now() > deadline || interrupting_signal() != 0) return std::nullopt;
    changed = &tried.back();
    auto minimal = minimize_loss({.trace = changed}, *trial->rejection, basis, judge);
    if (!minimal) return tl::unexpected(minimal.error());
    left = std::move(*minimal);
  }
  // Never all: where none is needed the checker says something else of the same state.
  for (std::size_t i = 0; fix.verified && fix.barriers.size() > 1 && i < fix.barriers.size();) {
    auto fewer = fix.barriers;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    auto trial = try_barriers(fewer);
    if (!trial) return tl::unexpected(trial.error());
    if (trial->rejection || !trial->complete || trial->states == 0) {
      ++i;
      continue;
    }
    fix.barriers = std::move(fewer);
    fix.states = trial->states;
  }
  if (fix.barriers.size() > limits.barriers || fix.states == 0) return std::nullopt;
  return fix;
}

}  // namespace crashgate::harness
