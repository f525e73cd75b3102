#include "harness/disk/work_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "harness/disk/disk_recording.h"

namespace crashgate::harness {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME;

}  // namespace

Result<WorkMount> WorkMount::create(const FileSystemChoice& choice, const std::string& device,
                                    const std::string& directory, WorkDirectory work) {
  auto mount = Mount::create(choice, device, directory);
  if (!mount) return tl::unexpected(mount.error());
  WorkMount made(std::move(*mount));
  const auto failed = [&](const char* call) {
    return tl::unexpected(error_from_errno(errno, call, kWorkDirectory));
  };
  made.root_ = UniqueFd(::open(directory.c_str(), kDirectory));
  if (!made.root_) return failed("open the file system's root of");
  if (work == WorkDirectory::kMake && ::mkdirat(made.root(), kWorkDirectory, 0700) != 0)
    return failed("mkdir");
  made.work_ = UniqueFd(::openat(made.root(), kWorkDirectory, kDirectory));
  if (!made.work_) return failed("open");
  const auto source = directory + "/" + kWorkDirectory;
  if (::mount(source.c_str(), directory.c_str(), nullptr, MS_BIND, nullptr) != 0)
    return failed("mount: bind");
  made.bound_ = true;
  return made;
}

WorkMount::WorkMount(WorkMount&& other) noexcept
    : mount_(std::move(other.mount_)),
      root_(std::move(other.root_)),
      work_(std::move(other.work_)),
      bound_(std::exchange(other.bound_, false)) {}

WorkMount::~WorkMount() {
  (void)unbind();
}

Result<void> WorkMount::unbind() {
  close_descriptors();
  if (bound_ && ::umount2(directory().c_str(), UMOUNT_NOFOLLOW) != 0)
    return tl::unexpected(error_from_errno(errno, "umount", directory()));
  bound_ = false;
  return {};
}

Result<void> WorkMount::unmount() {
  if (auto unbound = unbind(); !unbound) return unbound;
  return mount_.unmount();
}

}  // namespace crashgate::harness
