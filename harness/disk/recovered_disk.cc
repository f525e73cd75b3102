#include "harness/disk/recovered_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "faultinject/tree_snapshot.h"

namespace crashgate::harness {
namespace {

// The machine's fault or ours, and not the file system's.
constexpr int kNotOfTheState[] = {EBUSY, ENOMEM, EPERM, EACCES, EMFILE, ENFILE, ENODEV, ENOTBLK};

bool is_of_the_state(const Error& error) {
  return error.errno_value != 0 &&
         std::ranges::find(kNotOfTheState, error.errno_value) == std::end(kNotOfTheState);
}

}  // namespace

Result<RecoveredDisk> RecoveredDisk::create(const DiskRecording& recording,
                                            const std::vector<DiskPiece>& pieces) {
  auto materializer = DiskMaterializer::create(recording.base, recording.blocks, pieces);
  if (!materializer) return tl::unexpected(materializer.error());
  return RecoveredDisk(recording, std::move(*materializer));
}

Result<std::string> RecoveredDisk::mount(
    const DiskState& state, const std::function<Result<void>(const DiskImage& image)>& crashed) {
  if (auto made = materializer_.make(state); !made) return tl::unexpected(made.error());
  if (crashed) {
    if (auto shown = crashed(materializer_.image()); !shown) return tl::unexpected(shown.error());
  }
  auto mounted = WorkMount::create(recording_->choice, materializer_.device(), directory());
  if (mounted) {
    mounted->close_descriptors();
    mount_.emplace(std::move(*mounted));
    return std::string();
  }
  if (!is_of_the_state(mounted.error())) return tl::unexpected(mounted.error());
  return fmt::format("{} does not recover: {}: {}", recording_->choice.file_system->name,
                     mounted.error().operation, ::strerrordesc_np(mounted.error().errno_value));
}

Result<void> RecoveredDisk::unmount() {
  if (!mount_) return {};
  if (auto unmounted = mount_->unmount(); !unmounted) return unmounted;
  mount_.reset();
  return {};
}

Result<std::string> RecoveredDisk::check() const {
  return check_file_system(recording_->choice, materializer_.device());
}

Result<RecoveredTree> read_recovered_tree(const std::string& directory,
                                          const std::vector<std::string>& ignored) {
  RecoveredTree tree;
  faultinject::FileNumbering numbering;
  auto snapshot = faultinject::read_tree(directory, faultinject::IgnoredPaths(ignored), numbering,
                                         tree.bytes.bytes);
  if (!snapshot)
    return tl::unexpected(
        Error{ErrorCode::kIo, 0, "read the recovered tree", snapshot.error().message});
  tree.snapshot = std::move(*snapshot);
  return tree;
}

}  // namespace crashgate::harness
