#include "harness/disk/disk_judge.h"

#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <chrono>
#include <thread>

#include "harness/check/child_process.h"
#include "harness/crash_state/directory_tree.h"
#include "harness/crash_state/tree_hash.h"

namespace crashgate::harness {
namespace {

// The kernel may still be at it when the last user has ended.
constexpr int kUnmountTries = 20;
constexpr auto kUnmountPause = std::chrono::milliseconds(10);

void reject_file_system(DiskOpinion& opinion, const std::string& complaint) {
  std::string cause = "file system: ";
  for (const char c : complaint) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) cause += c;
  }
  opinion.known = false;
  opinion.pair = tree_hash::text(cause);
  opinion.judgement = {false, FindingKind::kFileSystem, complaint, std::move(cause), ""};
}

}  // namespace

Result<DiskJudge> DiskJudge::create(const DiskSubject& subject,
                                    const std::vector<DiskPiece>& pieces, unsigned job,
                                    bool check_file_system) {
  auto disk = RecoveredDisk::create(*subject.recording, pieces);
  if (!disk) return tl::unexpected(disk.error());
  return DiskJudge(subject, job, check_file_system, std::move(*disk));
}

Result<DiskOpinion> DiskJudge::judge(const DiskState& state,
                                     const std::function<bool(std::uint64_t pair)>& is_known) {
  DiskOpinion opinion;
  opinion.acknowledgement_end = times_.ends[state.acknowledgement];
  auto complaint = disk_.mount(state);
  if (!complaint) return tl::unexpected(complaint.error());
  if (!complaint->empty()) {
    reject_file_system(opinion, *complaint);
    return opinion;
  }
  if (const auto tree = read_recovered_tree(disk_.directory())) {
    opinion.tree_hash = hash_of(tree_of(tree->bytes, tree->snapshot));
    opinion.pair = tree_hash::mix(opinion.tree_hash, opinion.acknowledgement_end);
    opinion.known = is_known && is_known(opinion.pair);
    if (!opinion.known) {
      auto judgement = ask(opinion.acknowledgement_end);
      if (!judgement) return tl::unexpected(judgement.error());
      opinion.judgement = std::move(*judgement);
    }
  } else {
    reject_file_system(opinion, tree.error().operation + ": " + tree.error().path);
  }
  if (auto unmounted = unmount(); !unmounted) return tl::unexpected(unmounted.error());
  if (!check_file_system_) return opinion;
  complaint = disk_.check();
  if (!complaint) return tl::unexpected(complaint.error());
  if (!complaint->empty()) reject_file_system(opinion, *complaint);
  return opinion;
}

Result<Judgement> DiskJudge::ask(std::size_t acknowledgement_end) {
  if (!judge_) {
    auto made = subject_->make_judge(job_);
    if (!made) return tl::unexpected(made.error());
    judge_ = std::move(*made);
  }
  return judge_(disk_.directory(), acknowledgement_end);
}

Result<void> DiskJudge::visit(const DiskState& state, const DiskStateVisitor& visitor) {
  // Before the mount: it recovers.
  const auto complaint = disk_.mount(state, visitor.crashed);
  if (!complaint) return tl::unexpected(complaint.error());
  if (!complaint->empty()) return {};
  Result<void> visited;
  if (visitor.recovered) visited = visitor.recovered(disk_.directory());
  if (auto unmounted = unmount(); !unmounted) return unmounted;
  return visited;
}

// Whoever keeps the file system busy is the judge's: a checker that stays, or what it started.
Result<void> DiskJudge::unmount() {
  auto unmounted = disk_.unmount();
  for (int tries = 0; !unmounted && tries < kUnmountTries; ++tries) {
    if (unmounted.error().errno_value != EBUSY) break;
    if (tries == 0) {
      judge_ = nullptr;
      kill_children_except({});
    } else {
      std::this_thread::sleep_for(kUnmountPause);
    }
    unmounted = disk_.unmount();
  }
  return unmounted;
}

Result<void> enter_mount_namespace_once() {
  static pid_t entered = 0;
  if (entered == ::getpid()) return {};
  if (auto done = enter_mount_namespace(); !done) return done;
  entered = ::getpid();
  return {};
}

}  // namespace crashgate::harness
