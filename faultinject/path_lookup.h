// What descriptors and paths stand for at this moment. Async-signal-safe; no allocation; makes raw
// system calls only, and opens nothing. Memory of the program is read only where the kernel could.
#pragma once

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <cstdint>
#include <string_view>

#include "faultinject/raw_syscall.h"
#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

inline long as_argument(const void* pointer) {
  return reinterpret_cast<long>(pointer);
}

/// Device, inode, mode, owner and size: by statx, since asking for times would make the file system
/// take finer ones from then on, which the program might notice, and which costs.
bool stat_descriptor(long fd, struct stat& status);
/// As fstatat, the same fields; 0 or -errno.
long stat_path(int directory, const char* path, int flags, struct stat& status);
/// Whether the kernel can read a string there.
bool is_readable(const void* text);

inline constexpr std::size_t kDescriptorLinkSize = 40;
/// "/proc/self/fd/N"
void write_descriptor_link(char* link, long fd);

struct PathArgument {
  int directory = AT_FDCWD;
  const char* path = nullptr;
};

/// The path of the role, and the directory descriptor before it where the row has one.
PathArgument path_argument(const RowInfo& row, const Arguments& arguments, Role role);

/// A directory entry, which may not exist; or a file that a link of /proc leads to, which has no
/// name there.
struct Place {
  std::uint64_t directory = 0;  // inode; 0: on another device, or there is none
  char name[NAME_MAX + 1] = "";
  std::size_t name_size = 0;
  bool exists = false;
  struct stat status {};  // where it exists

  std::string_view name_view() const { return {name, name_size}; }
};

/// Where a path leads: its last component, and the directory that the rest leads to, as the kernel
/// would go; with `follow`, through a symlink at its end too. False: nowhere, the call must fail.
/// Uses about 8 KiB of stack.
bool locate(dev_t device, PathArgument argument, bool follow, Place& place);

}  // namespace crashgate::faultinject
