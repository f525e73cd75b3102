// Judges one crash state of a recorded disk after the other, from the disk on: makes it, mounts it,
// reads the tree that recovery leaves, asks the judge where that tree is new, unmounts, and runs
// the file system's check where wanted.
//
// For a job process in a mount namespace of its own. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "harness/disk/disk_exploration.h"
#include "harness/disk/disk_timeline.h"
#include "harness/disk/recovered_disk.h"
#include "store/error.h"

namespace crashgate::harness {

struct DiskOpinion {
  /// Of recovered tree and acknowledgements; of the complaint where it is the file system that is
  /// rejected.
  std::uint64_t pair = 0;
  std::uint64_t tree_hash = 0;  // 0: no tree
  std::size_t acknowledgement_end = 0;
  bool known = false;   // the pair needs no judgement; there is none
  Judgement judgement;  // else
};

class DiskJudge {
 public:
  /// `subject` and `pieces` must outlive it.
  static Result<DiskJudge> create(const DiskSubject& subject, const std::vector<DiskPiece>& pieces,
                                  unsigned job, bool check_file_system);

  /// `is_known`: whether a pair was judged before; null: none was.
  Result<DiskOpinion> judge(const DiskState& state,
                            const std::function<bool(std::uint64_t pair)>& is_known = {});
  /// Makes the state, and shows it.
  Result<void> visit(const DiskState& state, const DiskStateVisitor& visitor);

 private:
  DiskJudge(const DiskSubject& subject, unsigned job, bool check_file_system, RecoveredDisk disk)
      : subject_(&subject),
        job_(job),
        check_file_system_(check_file_system),
        times_(acknowledgement_times(subject.recording->trace)),
        disk_(std::move(disk)) {}

  Result<Judgement> ask(std::size_t acknowledgement_end);
  Result<void> unmount();

  const DiskSubject* subject_;
  unsigned job_;
  bool check_file_system_;
  AcknowledgementTimes times_;
  RecoveredDisk disk_;
  DirectoryJudge judge_;  // null: to be made
};

/// A mount namespace of its own for the calling process, unless it has one from here already.
Result<void> enter_mount_namespace_once();

}  // namespace crashgate::harness
