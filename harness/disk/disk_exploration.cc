#include "harness/disk/disk_exploration.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "harness/clock.h"
#include "harness/crash_state/loss_shrinker.h"
#include "harness/disk/disk_judge.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/engine/shared_memory.h"

namespace crashgate::harness {
namespace {

using nlohmann::json;

constexpr std::size_t kMostRejections = 64;  // causes that one job keeps of one subject
constexpr std::size_t kMostTries = 200;      // to make one rejection minimal

// Of an exploration in a job process; run_jobs hands it on.
template <typename T>
T value_or_throw(Result<T> result) {
  if (!result) throw std::runtime_error(to_string(result.error()));
  return std::move(*result);
}

DiskStateEnumerator states_of(const DiskSubject& subject, const DiskExplorationOptions& options) {
  const auto& recording = *subject.recording;
  return {
      recording.blocks,
      recording.first_stamp,
      acknowledgement_times(recording.trace).stamps,
      {basis_on(*recording.choice.file_system, options.basis), options.seed, options.state_limit}};
}

// A recovered tree with what had been told, and how often it was found.
struct Pair {
  static constexpr std::size_t kAccepted = std::numeric_limits<std::size_t>::max();
  std::size_t rejection = kAccepted;  // index
  std::uint64_t tree_hash = 0;
  std::size_t acknowledgement_end = 0;
};

// The example of a rejection is the one that comes first in this order, whichever job saw it.
auto rank(std::uint64_t stamp, std::size_t acknowledgement_end, const Loss& lost) {
  return std::tuple<std::size_t, std::uint64_t, std::size_t, const Loss&>(
      lost.size(), stamp, acknowledgement_end, lost);
}
auto rank(const DiskRejection& rejection) {
  return rank(rejection.stamp, rejection.acknowledgement_end, rejection.lost);
}

using Progress = std::atomic<std::uint64_t>;

// One job: its share of the states of every subject.
class JobExploration {
 public:
  JobExploration(const std::vector<DiskSubject>& subjects, const DiskExplorationOptions& options,
                 unsigned job, Clock::time_point started, const SharedMemory<Progress>& states)
      : subjects_(subjects), options_(options), job_(job), started_(started), progress_(states) {}

  json run() {
    if (auto entered = enter_mount_namespace_once(); !entered)
      throw std::runtime_error(to_string(entered.error()));
    json counts = json::array();
    for (std::size_t i = 0; i < subjects_.size(); ++i) {
      subject_ = i;
      pairs_.clear();
      groups_.clear();
      counts.push_back(has_part(i) ? explore(part_of(subjects_left(i))) : nothing());
    }
    json rejections = json::array();
    for (const auto& rejection : rejections_) rejections.push_back(to_json(rejection));
    return {{"counts", counts},
            {"rejections", rejections},
            {"flaky", flaky_},
            {"flaky_message", flaky_message_}};
  }

 private:
  // Where there are many subjects each is one job's, since a job has to make a disk for each of
  // its; else the jobs share the states of each.
  bool are_shared() const { return subjects_.size() < std::size_t{4} * options_.jobs; }
  bool has_part(std::size_t subject) const {
    return are_shared() || subject % options_.jobs == job_;
  }
  std::size_t subjects_left(std::size_t from) const {
    const auto left = subjects_.size() - from;
    return are_shared() ? left : (left + options_.jobs - 1) / options_.jobs;
  }
  static json nothing() {
    return {{"crash_points", 0},  {"states", 0},  {"pairs", json::array()},
            {"exhaustive", true}, {"seconds", 0}, {"first", -1}};
  }

  // An equal part of the time that is left: who needs less leaves more to the next.
  Clock::time_point part_of(std::size_t subjects_left) const {
    if (options_.deadline == Clock::time_point::max()) return options_.deadline;
    const auto now = Clock::now();
    return now + std::max(Clock::duration::zero(), options_.deadline - now) /
                     static_cast<long>(subjects_left);
  }

  bool is_mine(const DiskState& state) const {
    return !are_shared() || ((state.hash + state.acknowledgement) >> 20) % options_.jobs == job_;
  }

  json explore(Clock::time_point deadline) {
    const auto begun = Clock::now();
    auto states = states_of(subjects_[subject_], options_);
    std::optional<DiskJudge> judge;
    std::uint64_t judged = 0;
    double first = -1;
    bool complete = true;
    while (const DiskState* state = states.next()) {
      if (!is_mine(*state)) continue;
      if (Clock::now() > deadline) {
        complete = false;
        break;
      }
      if (!judge) {
        judge.emplace(value_or_throw(DiskJudge::create(subjects_[subject_], states.pieces(), job_,
                                                       options_.check_file_system)));
      }
      ++judged;
      ++*progress_.get();
      if (look(*judge, *state) && first < 0) first = seconds_since(started_);
    }
    json pairs = json::array();
    for (const auto& [hash, pair] : pairs_)
      pairs.push_back({hash, pair.tree_hash, pair.acknowledgement_end});
    return {{"crash_points", states.crash_points()},
            {"states", judged},
            {"pairs", pairs},
            {"exhaustive", complete && states.exhaustive()},
            {"seconds", seconds_since(begun)},
            {"first", first}};
  }

  // Whether it is rejected.
  bool look(DiskJudge& judge, const DiskState& state) {
    auto opinion = value_or_throw(
        judge.judge(state, [&](std::uint64_t pair) { return pairs_.contains(pair); }));
    if (!opinion.known && !opinion.judgement.accepted) {
      const auto message = opinion.judgement.message;
      opinion = value_or_throw(judge.judge(state));
      if (opinion.judgement.accepted) {
        ++flaky_;
        if (flaky_message_.empty()) flaky_message_ = message;
      }
    }
    const auto [pair, is_new] = pairs_.try_emplace(
        opinion.pair, Pair{Pair::kAccepted, opinion.tree_hash, opinion.acknowledgement_end});
    if (is_new && !opinion.judgement.accepted) pair->second.rejection = group_of(opinion.judgement);
    if (pair->second.rejection == Pair::kAccepted) return false;
    auto& rejection = rejections_[pair->second.rejection];
    if (rejection.count++ == 0 ||
        rank(state.stamp, opinion.acknowledgement_end, state.lost) < rank(rejection)) {
      rejection.stamp = state.stamp;
      rejection.acknowledgement_end = opinion.acknowledgement_end;
      rejection.lost = state.lost;
    }
    return true;
  }

  // The rejection for its cause.
  std::size_t group_of(const Judgement& judgement) {
    const auto cause = groups_.size() < kMostRejections ? judgement.cause : groups_.begin()->first;
    const auto [group, is_new] = groups_.try_emplace(cause, rejections_.size());
    if (is_new) rejections_.push_back({.subject = subject_, .judgement = judgement});
    return group->second;
  }

  const std::vector<DiskSubject>& subjects_;
  const DiskExplorationOptions& options_;
  unsigned job_;
  Clock::time_point started_;
  const SharedMemory<Progress>& progress_;
  std::size_t subject_ = 0;
  std::unordered_map<std::uint64_t, Pair> pairs_;  // of the subject
  std::map<std::string, std::size_t> groups_;      // of the subject: cause to rejection
  std::vector<DiskRejection> rejections_;
  std::uint64_t flaky_ = 0;
  std::string flaky_message_;
};

// What the jobs found of one subject.
void add_counts(DiskCount& count, std::map<std::uint64_t, json>& pairs, const json& from) {
  count.crash_points = std::max<std::uint64_t>(count.crash_points, from.at("crash_points"));
  count.states += from.at("states").get<std::uint64_t>();
  count.exhaustive = count.exhaustive && from.at("exhaustive").get<bool>();
  count.seconds = std::max(count.seconds, from.at("seconds").get<double>());
  const double first = from.at("first");
  if (first >= 0 &&
      (count.seconds_to_first_rejection < 0 || first < count.seconds_to_first_rejection))
    count.seconds_to_first_rejection = first;
  for (const auto& pair : from.at("pairs")) pairs.try_emplace(pair.at(0), pair);
  count.trees = pairs.size();
}

void add_rejection(std::vector<DiskRejection>& all, DiskRejection rejection) {
  const auto same = std::ranges::find_if(all, [&](const DiskRejection& other) {
    return other.subject == rejection.subject && other.judgement.cause == rejection.judgement.cause;
  });
  if (same == all.end()) {
    all.push_back(std::move(rejection));
    return;
  }
  const auto count = same->count + rejection.count;
  if (rank(rejection) < rank(*same)) *same = std::move(rejection);
  same->count = count;
}

}  // namespace

json to_json(const DiskRejection& rejection) {
  return {{"subject", rejection.subject},
          {"judgement", to_json(rejection.judgement)},
          {"count", rejection.count},
          {"stamp", rejection.stamp},
          {"told", rejection.acknowledgement_end},
          {"lost", rejection.lost}};
}

DiskRejection disk_rejection_from_json(const json& from) {
  return {from.at("subject"), judgement_from_json(from.at("judgement")),
          from.at("count"),   from.at("stamp"),
          from.at("told"),    from.at("lost").get<std::vector<std::uint32_t>>()};
}

Result<DiskExploration> explore_disk_states(const std::vector<DiskSubject>& subjects,
                                            const DiskExplorationOptions& options) {
  const SharedMemory<Progress> states;
  if (!states) return tl::unexpected(error_from_errno(errno, "mmap", "progress"));
  const auto started = Clock::now();
  const auto body = [&](unsigned job) {
    return JobExploration(subjects, options, job, started, states).run();
  };
  const auto watch = [&] {
    if (options.progress) options.progress(*states.get());
    return interrupting_signal() == 0;
  };
  auto reports = run_jobs(options.jobs, body, watch);
  if (!reports) return tl::unexpected(reports.error());
  DiskExploration all;
  all.interrupted = !*reports;
  if (all.interrupted) return all;
  all.counts.resize(subjects.size());
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    std::map<std::uint64_t, json> pairs;
    for (const auto& report : **reports)
      add_counts(all.counts[i], pairs, report.at("counts").at(i));
    if (!subjects[i].observe) continue;
    for (const auto& [hash, pair] : pairs) {
      if (pair.at(1) != 0) subjects[i].observe(pair.at(1), pair.at(2));
    }
  }
  for (const auto& report : **reports) {
    for (const auto& one : report.at("rejections"))
      add_rejection(all.rejections, disk_rejection_from_json(one));
    all.flaky += report.at("flaky").get<std::uint64_t>();
    if (all.flaky_message.empty()) all.flaky_message = report.at("flaky_message");
  }
  std::ranges::sort(all.rejections, [](const DiskRejection& one, const DiskRejection& other) {
    return std::tuple(one.subject, rank(one)) < std::tuple(other.subject, rank(other));
  });
  return all;
}

Result<DiskRejection> minimize_disk_loss(const DiskSubject& subject, const DiskRejection& rejection,
                                         const DiskExplorationOptions& options) {
  if (auto entered = enter_mount_namespace_once(); !entered) return tl::unexpected(entered.error());
  auto states = states_of(subject, options);
  auto judge = DiskJudge::create(subject, states.pieces(), 0, options.check_file_system);
  if (!judge) return tl::unexpected(judge.error());
  DiskRejection best = rejection;
  const auto still_rejected = [&](const Loss& fewer) -> Result<std::optional<Loss>> {
    const auto* state = states.state_without(best.stamp, fewer);
    if (state == nullptr) return std::nullopt;
    auto opinion = judge->judge(*state);
    if (!opinion) return tl::unexpected(opinion.error());
    if (opinion->judgement.accepted || opinion->judgement.cause != best.judgement.cause)
      return std::nullopt;
    best.judgement = std::move(opinion->judgement);
    return fewer;
  };
  auto shrunk = shrink_loss(best.lost, kMostTries, still_rejected);
  if (!shrunk) return tl::unexpected(shrunk.error());
  best.lost = std::move(*shrunk);
  return best;
}

Result<void> show_disk_state(const DiskSubject& subject, const DiskRejection& rejection,
                             const DiskExplorationOptions& options,
                             const DiskStateVisitor& visitor) {
  if (auto entered = enter_mount_namespace_once(); !entered) return entered;
  auto states = states_of(subject, options);
  auto judge = DiskJudge::create(subject, states.pieces(), 0, options.check_file_system);
  if (!judge) return tl::unexpected(judge.error());
  const auto* state = states.state_without(rejection.stamp, rejection.lost);
  if (state == nullptr)
    return tl::unexpected(Error{ErrorCode::kIo, 0, "a rejected disk state is no state", ""});
  return judge->visit(*state, visitor);
}

}  // namespace crashgate::harness
