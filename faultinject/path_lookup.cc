#include "faultinject/path_lookup.h"

#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace crashgate::faultinject {
namespace {

constexpr int kMaxSymlinks = 40;  // as the kernel's

/// A link that leads to an open file, working directory or the like, and not along its text.
/// (/proc/self leads along its text, and so do others; where they end a path, what they name is a
/// directory, which is nobody's place in a recorded tree.)
bool is_proc_link(const struct stat& link) {
  struct stat proc;
  return !is_error(stat_path(AT_FDCWD, "/proc", 0, proc)) && link.st_dev == proc.st_dev;
}

}  // namespace

long stat_path(int directory, const char* path, int flags, struct stat& status) {
  struct statx found;
  constexpr unsigned kWanted =
      STATX_TYPE | STATX_MODE | STATX_UID | STATX_GID | STATX_INO | STATX_SIZE;
  const long result =
      raw_syscall(SYS_statx, {directory, as_argument(path), flags, kWanted, as_argument(&found)});
  if (is_error(result)) return result;
  status = {};
  status.st_dev = makedev(found.stx_dev_major, found.stx_dev_minor);
  status.st_ino = found.stx_ino;
  status.st_mode = found.stx_mode;
  status.st_uid = found.stx_uid;
  status.st_gid = found.stx_gid;
  status.st_size = static_cast<off_t>(found.stx_size);
  return 0;
}

bool stat_descriptor(long fd, struct stat& status) {
  return fd >= 0 && !is_error(stat_path(static_cast<int>(fd), "", AT_EMPTY_PATH, status));
}

bool is_readable(const void* text) {
  return text != nullptr && raw_syscall(SYS_access, {as_argument(text), 0}) != -EFAULT;
}

void write_descriptor_link(char* link, long fd) {
  constexpr std::string_view kFolder = "/proc/self/fd/";
  char digits[20];
  std::size_t count = 0;
  for (long rest = fd; count == 0 || rest > 0; rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  link = std::copy(kFolder.begin(), kFolder.end(), link);
  link = std::reverse_copy(digits, digits + count, link);
  *link = '\0';
}

PathArgument path_argument(const RowInfo& row, const Arguments& arguments, Role role) {
  const std::size_t position = find_role(row, role);
  const Role before = position > 0 ? row.roles[position - 1] : Role::kNone;
  PathArgument result;
  if (before == Role::kDirectory || before == Role::kDirectory2) {
    result.directory = static_cast<int>(arguments[position - 1]);
  }
  result.path = reinterpret_cast<const char*>(arguments[position]);
  return result;
}

bool locate(dev_t device, PathArgument argument, bool follow, Place& place) {
  char path[PATH_MAX];
  long looked = stat_path(argument.directory, argument.path, AT_SYMLINK_NOFOLLOW, place.status);
  if (looked == -EFAULT || looked == -ENAMETOOLONG) return false;
  std::size_t size = strnlen(argument.path, sizeof path);
  if (size == 0 || size == sizeof path) return false;
  std::memcpy(path, argument.path, size);

  std::size_t prefix = 0;  // of the path before its last component
  for (int links = 0;; ++links) {
    while (size > 1 && path[size - 1] == '/') --size;
    path[size] = '\0';
    prefix = size;
    while (prefix > 0 && path[prefix - 1] != '/') --prefix;
    looked = stat_path(argument.directory, path, AT_SYMLINK_NOFOLLOW, place.status);
    if (is_error(looked) && looked != -ENOENT) return false;
    place.exists = !is_error(looked);
    if (!follow || !place.exists || !S_ISLNK(place.status.st_mode)) break;
    if (links == kMaxSymlinks) return false;
    if (is_proc_link(place.status)) {
      return !is_error(stat_path(argument.directory, path, 0, place.status));
    }
    char target[PATH_MAX];
    const long length =
        raw_syscall(SYS_readlinkat, {argument.directory, as_argument(path), as_argument(target),
                                     static_cast<long>(sizeof target)});
    if (length <= 0) return false;
    const std::size_t kept = target[0] == '/' ? 0 : prefix;
    if (kept + static_cast<std::size_t>(length) >= sizeof path) return false;
    std::memcpy(path + kept, target, static_cast<std::size_t>(length));
    size = kept + static_cast<std::size_t>(length);
  }

  place.name_size = size - prefix;
  if (place.name_size > NAME_MAX) return false;
  std::memcpy(place.name, path + prefix, place.name_size);
  path[prefix] = '\0';
  struct stat parent;
  if (is_error(stat_path(argument.directory, prefix == 0 ? "." : path, 0, parent))) return false;
  if (parent.st_dev == device) place.directory = parent.st_ino;
  return true;
}

}  // namespace crashgate::faultinject
