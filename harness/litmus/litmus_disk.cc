#include "harness/litmus/litmus_disk.h"

#include "harness/disk/disk_timeline.h"
#include "harness/disk/recovered_disk.h"

namespace crashgate::harness {

Result<RecoveredStates> look_at_recovered_states(
    const DiskRecording& recording, const DiskEnumerationOptions& options,
    std::chrono::steady_clock::time_point deadline,
    const std::function<void(const DirectoryTree& tree, std::size_t acknowledged)>& look) {
  const AcknowledgementTimes told = acknowledgement_times(recording.trace);
  DiskStateEnumerator enumerator(recording.blocks, recording.first_stamp, told.stamps, options);
  auto disk = RecoveredDisk::create(recording, enumerator.pieces());
  if (!disk) return tl::unexpected(disk.error());

  RecoveredStates seen;
  const auto note = [&](std::uint64_t& count, const std::string& complaint) {
    if (seen.unmountable + seen.unreadable == 0) seen.example = complaint;
    ++count;
  };
  bool in_time = true;
  while (const DiskState* state = in_time ? enumerator.next() : nullptr) {
    const auto complaint = disk->mount(*state);
    if (!complaint) return tl::unexpected(complaint.error());
    ++seen.states;
    if (!complaint->empty()) {
      note(seen.unmountable, *complaint);
    } else if (const auto found = read_recovered_tree(disk->directory()); found) {
      look(tree_of(found->bytes, found->snapshot), told.ends[state->acknowledgement]);
    } else {
      note(seen.unreadable, to_string(found.error()));
    }
    if (auto unmounted = disk->unmount(); !unmounted) return tl::unexpected(unmounted.error());
    in_time = std::chrono::steady_clock::now() < deadline;
  }
  seen.crash_points = enumerator.crash_points();
  seen.exhaustive = in_time && enumerator.exhaustive();
  return seen;
}

}  // namespace crashgate::harness
