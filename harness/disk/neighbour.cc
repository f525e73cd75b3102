#include "harness/disk/neighbour.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <string>

#include "faultinject/raw_syscall.h"

namespace crashgate::harness {
namespace {

using faultinject::is_error;
using faultinject::raw_syscall;

constexpr char kName[] = "neighbour";

long as_argument(const void* pointer) {
  return reinterpret_cast<long>(pointer);
}

// Nothing that it opens is marked as read, which would change it.
constexpr long kQuietly = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME | O_NONBLOCK;

// Of one file or of all below a directory; waits, so that the next call of the workload finds it
// done. Closes `fd`.
void write_back(long fd, unsigned char type) {
  if (type == DT_REG) {
    raw_syscall(SYS_sync_file_range,
                {fd, 0, 0,
                 SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER});
  }
  alignas(dirent64) std::array<char, 4096> entries;
  while (type == DT_DIR) {
    const long filled =
        raw_syscall(SYS_getdents64, {fd, as_argument(entries.data()), entries.size()});
    if (filled <= 0) break;
    for (long at = 0; at < filled;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries.data() + at);
      at += entry->d_reclen;
      const std::string_view name = entry->d_name;
      if (name == "." || name == ".." || (entry->d_type != DT_REG && entry->d_type != DT_DIR))
        continue;
      const long opened = raw_syscall(SYS_openat, {fd, as_argument(entry->d_name), kQuietly});
      if (!is_error(opened)) write_back(opened, entry->d_type);
    }
  }
  raw_syscall(SYS_close, {fd});
}

}  // namespace

std::string_view to_string(NeighbourKind kind) {
  switch (kind) {
    case NeighbourKind::kNone:
      return "no neighbour";
    case NeighbourKind::kCommits:
      return "a neighbour that commits";
    case NeighbourKind::kWritesBack:
      break;
  }
  return "a neighbour that writes back";
}

Result<Neighbour> Neighbour::create(NeighbourKind kind, int file_system, int work_directory) {
  UniqueFd file;
  if (kind == NeighbourKind::kCommits) {
    file = UniqueFd(::openat(file_system, kName, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file) return tl::unexpected(error_from_errno(errno, "open", kName));
  }
  return Neighbour(kind, file_system, work_directory, std::move(file));
}

void Neighbour::after_call() const {
  if (kind_ == NeighbourKind::kCommits) {
    // An fsync of a file that has not changed would commit nothing. The ioctls are those of btrfs,
    // whose fsync writes of other files nothing; others refuse them.
    mode_ = !mode_;
    raw_syscall(SYS_fchmod, {file_.get(), mode_ ? 0644 : 0600});
    raw_syscall(SYS_fsync, {file_.get()});
    std::uint64_t transaction = 0;
    if (raw_syscall(SYS_ioctl, {file_.get(), static_cast<long>(BTRFS_IOC_START_SYNC),
                                as_argument(&transaction)}) == 0) {
      raw_syscall(SYS_ioctl,
                  {file_.get(), static_cast<long>(BTRFS_IOC_WAIT_SYNC), as_argument(&transaction)});
    }
  } else if (kind_ == NeighbourKind::kWritesBack) {
    const long opened =
        raw_syscall(SYS_openat, {work_directory_, as_argument("."), kQuietly | O_DIRECTORY});
    if (!is_error(opened)) write_back(opened, DT_DIR);
  }
}

}  // namespace crashgate::harness
