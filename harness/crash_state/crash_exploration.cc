#include "harness/crash_state/crash_exploration.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <stdexcept>
#include <tuple>
#include <unordered_map>

#include "harness/clock.h"
#include "harness/crash_state/event_order.h"
#include "harness/crash_state/loss_shrinker.h"
#include "harness/crash_state/micro_operation.h"
#include "harness/crash_state/seen_set.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/engine/shared_memory.h"

namespace crashgate::harness {
namespace {

using faultinject::Trace;
using nlohmann::json;

constexpr std::size_t kMostRejections = 64;  // causes that one job keeps of one subject
constexpr auto kShortestBarrierTime = std::chrono::seconds(20);
constexpr std::size_t kMostTries = 500;  // to make one rejection minimal

json to_json(const ModelCount& count) {
  return {{"crash_points", count.crash_points},
          {"states", count.states},
          {"exhaustive", count.exhaustive},
          {"seconds", count.seconds},
          {"first", count.seconds_to_first_rejection}};
}

// What the job processes have in common.
struct Progress {
  std::atomic<std::uint64_t> states;
  std::atomic<std::uint64_t> subjects_done;  // over all jobs
};

using SharedProgress = SharedMemory<Progress>;

// The example of a rejection is the one that comes first in this order, so it does not depend on
// which job saw what. Of a Rejection or a CrashState.
template <typename Example>
auto rank(const Example& example) {
  return std::tuple<std::size_t, std::size_t, std::size_t, const std::vector<std::uint32_t>&>(
      example.lost.size(), example.crash_point, example.acknowledgement_end, example.lost);
}

std::uint64_t pair_hash(const CrashState& state) {
  return state.tree_hash ^ (state.acknowledgement_end * 0x9e3779b97f4a7c15u);
}

// One job: its share of the states of every subject.
class JobExploration {
 public:
  JobExploration(const std::vector<CrashSubject>& subjects, const CrashExplorationOptions& options,
                 unsigned job, Clock::time_point started, const SharedProgress& progress)
      : subjects_(subjects),
        options_(options),
        job_(job),
        started_(started),
        progress_(progress),
        counts_(options.models.size()) {}

  json run() {
    for (std::size_t i = 0; i < subjects_.size(); ++i) {
      explore(i);
      ++progress_->subjects_done;
    }
    json counts = json::array();
    for (const auto& count : counts_) counts.push_back(to_json(count));
    json rejections = json::array();
    for (const auto& rejection : rejections_) rejections.push_back(to_json(rejection));
    json barriers = json::array();
    for (const auto& barrier : barriers_) barriers.push_back(to_json(barrier));
    return {{"counts", counts},  {"rejections", rejections}, {"barriers", barriers},
            {"states", states_}, {"flaky", flaky_},          {"flaky_message", flaky_message_}};
  }

 private:
  void explore(std::size_t index) {
    const auto subject_begun = Clock::now();
    subject_ = index;
    lowered_ = lower_to_share(*subjects_[index].trace, options_.basis);
    judged_ = {};
    rejected_.clear();
    groups_.clear();
    judge_ = nullptr;
    // Most subjects are small, so one may take some times its equal part of the time that is left.
    constexpr std::size_t kTimesItsPart = 4;
    const auto parts = std::max<std::size_t>(1, (subjects_.size() - index) / kTimesItsPart);
    const auto subject_deadline = part_of(options_.deadline, parts);
    const auto& wanted = subjects_[index].models;
    for (std::size_t m = 0; m < options_.models.size(); ++m) {
      if (!wanted.empty() && !wanted.contains(std::string(options_.models[m]->name))) continue;
      const auto begun = Clock::now();
      // First come, first served, but no subject may use up more than a part.
      constexpr std::uint64_t kSmallest = 16;
      const auto left = judgements_left();
      allowance_ = states_ + std::min(left, std::max(kSmallest, left / 8));
      explore(
          *options_.models[m], counts_[m],
          part_of(subject_deadline, options_.models.size() - m + (options_.test_barriers ? 1 : 0)));
      counts_[m].seconds += seconds_since(begun);
    }
    if (options_.test_barriers && groups_.empty())
      test_barriers(std::min(subject_deadline, Clock::now() + barrier_time(subject_begun)));
  }

  // A budget in states says nothing of time, and a trace may have thousands of barriers: they get
  // as much as the models had since then, or a little.
  Clock::duration barrier_time(Clock::time_point since) const {
    if (options_.deadline != Clock::time_point::max()) return Clock::duration::max() / 4;
    return std::max<Clock::duration>(kShortestBarrierTime, Clock::now() - since);
  }

  static Clock::time_point part_of(Clock::time_point deadline, std::size_t parts) {
    if (deadline == Clock::time_point::max()) return deadline;
    const auto now = Clock::now();
    return now + std::max(Clock::duration::zero(), deadline - now) / static_cast<long>(parts);
  }

  // This job's, of the limit of all.
  std::uint64_t judgements_left() const {
    const auto mine = options_.judgement_limit / options_.jobs;
    return mine > states_ ? mine - states_ : 0;
  }

  EnumerationOptions enumeration() const {
    return {options_.basis, options_.seed, options_.state_limit};
  }

  bool is_mine(std::uint64_t hash) const { return (hash >> 20) % options_.jobs == job_; }

  void explore(const PersistenceModel& model, ModelCount& count, Clock::time_point deadline) {
    CrashStateEnumerator states(*subjects_[subject_].trace, lowered_, model, enumeration());
    bool complete = true;
    while (const CrashState* state = states.next()) {
      const auto hash = pair_hash(*state);
      if (!is_mine(hash)) continue;
      if (Clock::now() > deadline || (states_ >= allowance_ && !judged_.contains(hash))) {
        complete = false;
        break;
      }
      if (judged_.insert(hash)) judge_and_keep(*state, hash, model);
      ++count.states;
      const auto rejected = rejected_.find(hash);
      if (rejected == rejected_.end()) continue;
      rejections_[rejected->second].models.emplace(model.name);
      if (count.seconds_to_first_rejection < 0)
        count.seconds_to_first_rejection = seconds_since(started_);
    }
    if (job_ == 0) count.crash_points += states.crash_points();
    count.exhaustive = count.exhaustive && complete && states.exhaustive();
  }

  Judgement judge(const CrashState& state) {
    if (!judge_) {
      auto made = subjects_[subject_].make_judge(job_);
      if (!made) throw std::runtime_error(to_string(made.error()));
      judge_ = std::move(*made);
    }
    auto judgement = judge_(state);
    if (!judgement) throw std::runtime_error(to_string(judgement.error()));
    return std::move(*judgement);
  }

  void judge_and_keep(const CrashState& state, std::uint64_t hash, const PersistenceModel& model) {
    ++states_;
    ++progress_->states;
    auto judgement = judge(state);
    if (judgement.accepted) return;
    auto again = judge(state);
    if (again.accepted) {
      ++flaky_;
      if (flaky_message_.empty()) flaky_message_ = judgement.message;
      return;
    }
    const auto cause = groups_.size() < kMostRejections ? again.cause : groups_.begin()->first;
    const auto [group, is_new] = groups_.try_emplace(cause, rejections_.size());
    if (is_new) rejections_.push_back({.subject = subject_});
    auto& rejection = rejections_[group->second];
    ++rejection.count;
    if (is_new || rank(state) < rank(rejection)) {
      rejection.judgement = std::move(again);
      rejection.model = model.name;
      rejection.crash_point = state.crash_point;
      rejection.acknowledgement_end = state.acknowledgement_end;
      rejection.lost = state.lost;
    }
    rejected_[hash] = group->second;
  }

  // In an order drawn by the seed, so that where time ends first the rest is no certain part of the
  // trace.
  void test_barriers(Clock::time_point deadline) {
    const auto& trace = *subjects_[subject_].trace;
    auto barriers = barriers_of(trace);
    std::ranges::shuffle(barriers, std::mt19937_64(options_.seed));
    mutant_ = trace;
    for (const auto event : barriers) {
      BarrierTest test{.subject = subject_, .event = event, .exhaustive = false};
      if (Clock::now() <= deadline) {
        mutant_.events[event] = without_barrier(trace.events[event]);
        test_mutant(test, deadline);
        mutant_.events[event] = trace.events[event];
      }
      barriers_.push_back(test);
    }
  }

  // Where not all states were judged, the barrier may have nothing to do with it.
  void keep_if_possible(const CrashState& state, std::uint64_t hash) {
    for (const auto* model : options_.models) {
      CrashStateEnumerator states(*subjects_[subject_].trace, lowered_, *model, enumeration());
      const auto* same = states.state_without(state.crash_point, state.lost);
      if (same == nullptr || pair_hash(*same) != hash) continue;
      if (judged_.insert(hash)) judge_and_keep(*same, hash, *model);
      const auto rejected = rejected_.find(hash);
      if (rejected != rejected_.end()) rejections_[rejected->second].models.emplace(model->name);
    }
  }

  void test_mutant(BarrierTest& test, Clock::time_point deadline) {
    // An msync is data, too.
    const bool same_changes =
        subjects_[subject_].trace->events[test.event].row != faultinject::Row::k_msync;
    CrashStateEnumerator states(mutant_,
                                same_changes ? lowered_ : lower_to_share(mutant_, options_.basis),
                                *find_model("posix"), enumeration());
    while (const CrashState* state = states.next()) {
      if (Clock::now() > deadline) return;
      const auto hash = pair_hash(*state);
      if (!is_mine(hash) || judged_.contains(hash)) continue;
      ++test.states_added;
      ++progress_->states;
      const auto judgement = judge(*state);
      test.noticed = !judgement.accepted;
      if (test.noticed) {
        keep_if_possible(*state, hash);
        break;
      }
    }
    test.exhaustive = test.noticed || states.exhaustive();
  }

  const std::vector<CrashSubject>& subjects_;
  const CrashExplorationOptions& options_;
  unsigned job_;
  Clock::time_point started_;
  const SharedProgress& progress_;
  std::size_t subject_ = 0;
  Trace mutant_;          // outlives the judge, which may keep its bytes
  LoweredTrace lowered_;  // the subject's
  StateJudge judge_;
  SeenSet judged_;                                           // pairs of the subject
  std::unordered_map<std::uint64_t, std::size_t> rejected_;  // of them: index of the rejection
  std::map<std::string, std::size_t> groups_;                // of the subject: cause to rejection
  std::vector<Rejection> rejections_;
  std::vector<ModelCount> counts_;
  std::vector<BarrierTest> barriers_;
  std::uint64_t states_ = 0;
  std::uint64_t allowance_ = 0;  // states_ may come to this under the model at hand
  std::uint64_t flaky_ = 0;
  std::string flaky_message_;
};

void add_rejection(std::vector<Rejection>& all, Rejection rejection) {
  const auto same = std::ranges::find_if(all, [&](const Rejection& other) {
    return other.subject == rejection.subject && other.judgement.cause == rejection.judgement.cause;
  });
  if (same == all.end()) {
    all.push_back(std::move(rejection));
    return;
  }
  rejection.count += same->count;
  rejection.models.merge(same->models);
  if (rank(*same) < rank(rejection)) {
    same->count = rejection.count;
    same->models = std::move(rejection.models);
  } else {
    *same = std::move(rejection);
  }
}

void add_report(CrashExploration& all, const CrashExplorationOptions& options, const json& report) {
  for (std::size_t m = 0; m < options.models.size(); ++m) {
    const auto& from = report.at("counts").at(m);
    auto& count = all.models[std::string(options.models[m]->name)];
    count.crash_points += from.at("crash_points").get<std::uint64_t>();
    count.states += from.at("states").get<std::uint64_t>();
    count.exhaustive = count.exhaustive && from.at("exhaustive").get<bool>();
    count.seconds = std::max(count.seconds, from.at("seconds").get<double>());
    const double first = from.at("first");
    if (first >= 0 &&
        (count.seconds_to_first_rejection < 0 || first < count.seconds_to_first_rejection))
      count.seconds_to_first_rejection = first;
  }
  for (const auto& one : report.at("rejections"))
    add_rejection(all.rejections, rejection_from_json(one));
  for (const auto& one : report.at("barriers"))
    add_barrier_test(all.barriers, barrier_test_from_json(one));
  all.states += report.at("states").get<std::uint64_t>();
  all.flaky += report.at("flaky").get<std::uint64_t>();
  if (all.flaky_message.empty()) all.flaky_message = report.at("flaky_message");
}

// Gives the rejected state an earlier crash point, the earliest of those tried at which the same
// tree and acknowledgements are possible with no more lost. Whether there is one.
bool crash_earlier(const Trace& trace, const MicroOperations& all, CrashStateEnumerator& states,
                   Rejection& rejection) {
  const auto* state = states.state_without(rejection.crash_point, rejection.lost);
  if (state == nullptr) return false;
  const auto hash = pair_hash(*state);
  const auto points = events_by_end(trace);
  const auto known = std::ranges::find(points, rejection.crash_point);
  auto point = known - std::min<std::ptrdiff_t>(known - points.begin(), kMostTries);
  for (; point != known; ++point) {
    Loss issued;
    std::ranges::copy_if(rejection.lost, std::back_inserter(issued), [&](std::uint32_t operation) {
      return trace.events[all.operations[operation].event].begin < trace.events[*point].end;
    });
    state = states.state_without(*point, issued);
    if (state == nullptr || pair_hash(*state) != hash) continue;
    rejection.crash_point = *point;
    rejection.lost = state->lost;
    return true;
  }
  return false;
}

// A subject that one job found wrong was not tested for blindness by that job, and the others'
// tests say nothing of it.
void forget_barriers_of_rejected(CrashExploration& all) {
  std::erase_if(all.barriers, [&](const BarrierTest& test) {
    return std::ranges::any_of(all.rejections, [&](const Rejection& rejection) {
      return rejection.subject == test.subject;
    });
  });
}

}  // namespace

json to_json(const Rejection& rejection) {
  return {{"subject", rejection.subject},
          {"judgement", to_json(rejection.judgement)},
          {"count", rejection.count},
          {"models", rejection.models},
          {"model", rejection.model},
          {"crash_point", rejection.crash_point},
          {"told", rejection.acknowledgement_end},
          {"lost", rejection.lost}};
}

Rejection rejection_from_json(const json& from) {
  return {from.at("subject"), judgement_from_json(from.at("judgement")),
          from.at("count"),   from.at("models").get<std::set<std::string>>(),
          from.at("model"),   from.at("crash_point"),
          from.at("told"),    from.at("lost").get<std::vector<std::uint32_t>>()};
}

Result<CrashExploration> explore_crash_states(const std::vector<CrashSubject>& subjects,
                                              const CrashExplorationOptions& options) {
  const SharedProgress progress;
  if (!progress) return tl::unexpected(error_from_errno(errno, "mmap", "progress"));
  const auto started = Clock::now();
  const auto body = [&](unsigned job) {
    return JobExploration(subjects, options, job, started, progress).run();
  };
  const auto watch = [&] {
    if (options.progress)
      options.progress(progress->states, progress->subjects_done / std::max(1u, options.jobs));
    return interrupting_signal() == 0;
  };
  auto reports = run_jobs(options.jobs, body, watch);
  if (!reports) return tl::unexpected(reports.error());
  CrashExploration all;
  all.interrupted = !*reports;
  if (all.interrupted) return all;
  for (const auto& report : **reports) add_report(all, options, report);
  std::ranges::sort(all.rejections, [](const Rejection& one, const Rejection& other) {
    return std::tuple(one.subject, rank(one)) < std::tuple(other.subject, rank(other));
  });
  forget_barriers_of_rejected(all);
  std::ranges::sort(all.barriers, {},
                    [](const BarrierTest& test) { return std::pair(test.subject, test.event); });
  return all;
}

Result<Rejection> minimize_loss(const CrashSubject& subject, const Rejection& rejection,
                                const Basis& basis, const StateJudge& judge) {
  const auto lowered = lower_to_share(*subject.trace, basis);
  CrashStateEnumerator states(*subject.trace, lowered, *find_model(rejection.model),
                              {.basis = basis});
  Rejection best = rejection;
  const auto still_rejected = [&](const Loss& fewer) -> Result<std::optional<Loss>> {
    const auto* state = states.state_without(best.crash_point, fewer);
    if (state == nullptr || state->lost.size() >= best.lost.size()) return std::nullopt;
    auto judgement = judge(*state);
    if (!judgement) return tl::unexpected(judgement.error());
    if (judgement->accepted || judgement->cause != best.judgement.cause) return std::nullopt;
    best.lost = state->lost;
    best.judgement = std::move(*judgement);
    best.acknowledgement_end = state->acknowledgement_end;
    return best.lost;
  };
  do {
    if (auto shrunk = shrink_loss(best.lost, kMostTries, still_rejected); !shrunk)
      return tl::unexpected(shrunk.error());
  } while (crash_earlier(*subject.trace, *lowered, states, best));
  return best;
}

void add_models_that_allow(Rejection& rejection, const CrashSubject& subject,
                           const std::vector<const PersistenceModel*>& models, const Basis& basis) {
  const auto lowered = lower_to_share(*subject.trace, basis);
  const auto hash_under = [&](const PersistenceModel& model) -> std::optional<std::uint64_t> {
    CrashStateEnumerator states(*subject.trace, lowered, model, {.basis = basis});
    const auto* state = states.state_without(rejection.crash_point, rejection.lost);
    if (state == nullptr) return std::nullopt;
    return pair_hash(*state);
  };
  const auto hash = hash_under(*find_model(rejection.model));
  for (const auto* model : models) {
    const std::string name(model->name);
    const bool is_wanted = subject.models.empty() || subject.models.contains(name);
    if (is_wanted && !rejection.models.contains(name) && hash_under(*model) == hash)
      rejection.models.insert(name);
  }
}

}  // namespace crashgate::harness
