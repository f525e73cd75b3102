// Disk engine: records plans on recorded disks of every file system that this machine has, with
// each neighbour, and lets a survivor look at what the file systems recover.
//
// A mount costs milliseconds, so there are few plans: each operation that changes something, on a
// key that is there and one that is not, and two writers that meet. Each recording gets an equal
// part of the time; the states that lack most come first.

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "faultinject/disk/recorded_disk.h"
#include "harness/disk/disk_judge.h"
#include "harness/engine/engine.h"
#include "harness/engine/job_processes.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;

// Of the engine's time, the most that recording may take.
constexpr int kRecordingPart = 3;  // a third
// Where the states are limited, a recording is not worth it for fewer.
constexpr std::uint64_t kStatesOfOneRecording = 40;

struct Unit {
  Plan plan;
  FileSystemChoice choice;
  NeighbourKind neighbour = NeighbourKind::kNone;
};

std::vector<Plan> disk_plans() {
  const Operation old{.kind = Kind::kPut, .key = "k", .size = 600};
  const auto one = [](std::vector<Operation> setup, std::vector<Operation> operations) {
    return Plan{.setup = std::move(setup), .workers = {std::move(operations)}};
  };
  std::vector<Plan> plans{
      one({old}, {{.kind = Kind::kPut, .key = "k", .size = 4097}}),
      one({}, {{.kind = Kind::kPutIfAbsent, .key = "k", .size = 4097}}),
      one({}, {{.kind = Kind::kPut, .key = "new/er/k", .size = 700}}),
      one({old}, {{.kind = Kind::kRemove, .key = "k"},
                  {.kind = Kind::kPutIfAbsent, .key = "k", .size = 100000}}),
      one({old}, {{.kind = Kind::kPut, .key = "d/k", .size = 300},
                  {.kind = Kind::kPut, .key = "d/k", .size = 20000},
                  {.kind = Kind::kRemove, .key = "d/k"}}),
  };
  for (const auto kind : {Kind::kPut, Kind::kPutIfAbsent}) {
    for (const std::uint32_t step : {5, 9}) {
      Plan plan;
      if (kind == Kind::kPut) plan.setup = {{.kind = Kind::kPut, .key = "d/k", .size = 300}};
      for (int writer = 0; writer < 2; ++writer)
        plan.workers.push_back({{.kind = kind, .key = "d/k", .size = 700}});
      plan.preemptions = {{step, 1}};
      plans.push_back(std::move(plan));
    }
  }
  return plans;
}

// In an order in which a run that is cut short has been everywhere.
std::vector<Unit> units_on(const DiskEngineBasis& basis,
                           const std::vector<FileSystemChoice>& choices) {
  std::vector<Unit> units;
  for (const auto neighbour : basis.neighbours) {
    for (const auto& plan : basis.plans) {
      for (const auto& choice : choices) units.push_back({plan, choice, neighbour});
    }
  }
  return units;
}

class Recordings {
 public:
  Recordings(const StoreEntry& store, std::vector<Unit> units, std::string directory)
      : store_(store), units_(std::move(units)), directory_(std::move(directory)) {}

  /// In `jobs` processes, as many of the units as there is time for.
  Result<std::vector<StoreDiskRecording>> record(unsigned jobs, Clock::time_point deadline) {
    const auto work = directory_ + "/work";
    if (::mkdir(work.c_str(), 0700) != 0)
      return tl::unexpected(error_from_errno(errno, "mkdir", work));
    const auto body = [&](unsigned job) {
      if (auto entered = enter_mount_namespace_once(); !entered)
        throw std::runtime_error(to_string(entered.error()));
      auto done = nlohmann::json::array();
      for (std::size_t i = job; i < units_.size() && Clock::now() < deadline; i += jobs) {
        if (record(i, work)) done.push_back(i);
      }
      return done;
    };
    std::vector<StoreDiskRecording> recordings;
    const auto answers = run_jobs(jobs, body, [] { return interrupting_signal() == 0; });
    if (!answers) return tl::unexpected(answers.error());
    if (!*answers) return recordings;
    std::vector<std::size_t> done;
    for (const auto& answer : **answers) {
      for (const auto& unit : answer) done.push_back(unit);
    }
    std::ranges::sort(done);
    for (const auto i : done) {
      auto read = read_store_recording(units_[i].choice, units_[i].neighbour, work, files_of(i));
      if (!read) return tl::unexpected(read.error());
      (void)remove_tree(files_of(i));
      recordings.push_back(std::move(*read));
    }
    return recordings;
  }

 private:
  std::string files_of(std::size_t unit) const { return directory_ + "/" + std::to_string(unit); }

  // Whether there is a recording.
  bool record(std::size_t index, const std::string& work) const {
    const auto& unit = units_[index];
    const auto files = files_of(index);
    if (::mkdir(files.c_str(), 0700) != 0)
      throw std::runtime_error(to_string(error_from_errno(errno, "mkdir", files)));
    const auto recording =
        record_plan_on_disk(store_, unit.plan, unit.choice, unit.neighbour, work, files);
    if (!recording) throw std::runtime_error(to_string(recording.error()));
    if (!*recording) return false;
    if (auto written = write_store_recording(store_, **recording, files); !written)
      throw std::runtime_error(to_string(written.error()));
    return true;
  }

  const StoreEntry& store_;
  std::vector<Unit> units_;
  std::string directory_;
};

}  // namespace

std::vector<DiskSubject> subjects_of(const StoreEntry& store, const StoreDiskResult& result) {
  std::vector<DiskSubject> subjects;
  for (const auto& recording : result.recordings) subjects.push_back(subject_of(store, recording));
  return subjects;
}

Result<EngineResult> run_disk_engine(const StoreEntry& store, const EngineOptions& options) {
  return run_disk_engine(
      store,
      {disk_plans(), {NeighbourKind::kCommits, NeighbourKind::kNone, NeighbourKind::kWritesBack}},
      options);
}

Result<EngineResult> run_disk_engine(const StoreEntry& store, const DiskEngineBasis& basis,
                                     const EngineOptions& options) {
  EngineResult result{.name = "disk"};
  result.skipped = faultinject::why_no_recorded_disk();
  if (!result.skipped.empty()) return result;
  std::vector<FileSystemChoice> choices;
  for (const auto& file_system : file_systems()) {
    if (std::ranges::find(options.models, &model_of(file_system)) == options.models.end()) continue;
    const auto why_not = why_no_file_system(file_system);
    if (why_not.empty()) {
      choices.push_back({.file_system = &file_system});
    } else {
      result.left_out +=
          (result.left_out.empty() ? "" : "; ") + std::string(file_system.name) + ": " + why_not;
    }
  }
  if (choices.empty()) {
    result.skipped = std::exchange(result.left_out, "");
    if (result.skipped.empty()) result.skipped = "no file system is among the chosen models";
    return result;
  }

  const auto jobs = std::max(1u, options.explore.jobs);
  const auto deadline = options.explore.deadline;
  const auto now = Clock::now();
  const auto recording_deadline =
      deadline == Clock::time_point::max() ? deadline : now + (deadline - now) / kRecordingPart;
  auto scratch = ScratchDirectory::create_in(options.explore.directory);
  if (!scratch) return tl::unexpected(scratch.error());
  auto units = units_on(basis, choices);
  result.units = units.size();
  if (options.explore.run_limit / kStatesOfOneRecording < units.size())
    units.resize(std::max<std::size_t>(3, options.explore.run_limit / kStatesOfOneRecording));
  auto recordings =
      Recordings(store, std::move(units), scratch->path()).record(jobs, recording_deadline);
  if (!recordings) return tl::unexpected(recordings.error());
  result.disk = std::make_shared<StoreDiskResult>(
      StoreDiskResult{std::move(*scratch), std::move(*recordings), {}, {}});
  auto& disk = *result.disk;
  if (interrupting_signal() != 0) {
    result.exploration.interrupted = true;
    return result;
  }

  auto& exploring = disk.options;
  exploring.basis = options.basis;
  exploring.seed = options.seed;
  exploring.jobs = jobs;
  exploring.deadline = deadline;
  if (options.explore.run_limit != UINT64_MAX)
    exploring.state_limit = std::max<std::uint64_t>(
        1, options.explore.run_limit / std::max<std::size_t>(1, disk.recordings.size()));
  exploring.progress = [&](std::uint64_t states) {
    if (options.explore.progress) options.explore.progress(states, 0, UINT64_MAX);
  };
  auto explored = explore_disk_states(subjects_of(store, disk), exploring);
  exploring.progress = {};
  if (!explored) return tl::unexpected(explored.error());
  disk.exploration = std::move(*explored);
  result.exploration.interrupted = disk.exploration.interrupted;
  result.exploration.units_done = disk.recordings.size();
  for (const auto& count : disk.exploration.counts) result.exploration.tally.runs += count.states;
  result.exhaustive = disk.recordings.size() == result.units &&
                      std::ranges::all_of(disk.exploration.counts, &DiskCount::exhaustive);
  result.basis = "disk states of " + std::to_string(disk.recordings.size()) + " of " +
                 std::to_string(result.units) + " runs on real file systems";
  return result;
}

}  // namespace crashgate::harness
