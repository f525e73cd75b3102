// The server process of a recorded disk: a FUSE file system with one file, "disk".
#pragma once

#include <sys/types.h>

#include <string>

#include "faultinject/disk/disk_log.h"

namespace crashgate::faultinject {

inline constexpr char kDiskFile[] = "disk";

struct DiskService {
  int image = -1;           // a file in memory; its size is the disk's
  std::string mount_point;  // an empty directory
  DiskLog* log = nullptr;
  /// Gets "\n" once the disk is there, else a line that says why it is not.
  int ready = -1;
  pid_t owner = -1;  // the parent; the server ends with the thread that forked it
};

/// What a forked child goes on with: mounts in the namespace that it was forked in, and then leaves
/// that. Ends when the file system is unmounted everywhere.
[[noreturn]] void serve_disk(const DiskService& service);

}  // namespace crashgate::faultinject
