// Judges the crash states of recorded disks, in several processes: each is made, mounted (the file
// system recovers), judged where the workload had its directory, and unmounted.
//
// A recovered tree that was judged before with the same acknowledgements is not judged again. A
// state that is rejected is judged again, from the disk on. What does not mount, or does not pass
// the file system's check, is a finding about the file system.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/crash_state/crash_exploration.h"
#include "harness/disk/disk_recording.h"
#include "harness/disk/disk_state_enumerator.h"
#include "store/error.h"

namespace crashgate::harness {

/// Judges the directory as it is found after recovery. An error: the judge itself failed.
using DirectoryJudge =
    std::function<Result<Judgement>(const std::string& directory, std::size_t acknowledgement_end)>;

struct DiskSubject {
  const DiskRecording* recording = nullptr;
  /// Once a job process; again where what a judge left running kept a file system busy, and was
  /// killed.
  std::function<Result<DirectoryJudge>(unsigned job)> make_judge;
  /// Called at the end, in the calling process, for each distinct pair of recovered tree and
  /// acknowledgements; may be null.
  std::function<void(std::uint64_t tree_hash, std::size_t acknowledgement_end)> observe = {};
};

struct DiskExplorationOptions {
  Basis basis;
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  std::uint64_t state_limit = UINT64_MAX;  // of one subject
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  bool check_file_system = false;  // fsck, once it has recovered and was unmounted
  std::function<void(std::uint64_t states)> progress = {};
};

struct DiskRejection {
  std::size_t subject = 0;
  Judgement judgement;
  std::uint64_t count = 0;  // disk states
  std::uint64_t stamp = 0;  // of the example: lost least, then the earliest
  std::size_t acknowledgement_end = 0;
  std::vector<std::uint32_t> lost;  // pieces of the disk's writes
};

/// Between processes.
nlohmann::json to_json(const DiskRejection& rejection);
DiskRejection disk_rejection_from_json(const nlohmann::json& json);

struct DiskCount {  // of one subject
  std::uint64_t crash_points = 0;
  std::uint64_t states = 0;  // of the disk: made and mounted
  std::uint64_t trees = 0;   // distinct pairs of recovered tree and acknowledgements
  bool exhaustive = true;
  double seconds = 0;
  double seconds_to_first_rejection = -1;  // since the exploration began; -1: none
};

struct DiskExploration {
  std::vector<DiskCount> counts;  // by subject
  std::vector<DiskRejection> rejections;
  std::uint64_t flaky = 0;
  std::string flaky_message;
  bool interrupted = false;
};

Result<DiskExploration> explore_disk_states(const std::vector<DiskSubject>& subjects,
                                            const DiskExplorationOptions& options);

/// A rejection in which nothing that is lost can be kept: each lost piece, put back, gives a state
/// that is accepted or rejected for another cause; as far as 200 tries lead. For a job process: it
/// enters a mount namespace.
Result<DiskRejection> minimize_disk_loss(const DiskSubject& subject, const DiskRejection& rejection,
                                         const DiskExplorationOptions& options);

/// What a state is shown to: its disk before recovery, and its directory after (not called where
/// the file system does not recover). Each may be null.
struct DiskStateVisitor {
  std::function<Result<void>(const DiskImage& image)> crashed;
  std::function<Result<void>(const std::string& directory)> recovered;
};

/// Makes the rejected state once more. For a job process, likewise.
Result<void> show_disk_state(const DiskSubject& subject, const DiskRejection& rejection,
                             const DiskExplorationOptions& options,
                             const DiskStateVisitor& visitor);

}  // namespace crashgate::harness
