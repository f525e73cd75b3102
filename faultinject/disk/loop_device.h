// The owner of a loop device: a block device over a file of ours. The kernel detaches it when the
// last one who has it open closes it (LO_FLAGS_AUTOCLEAR), so that it goes with us, however we end;
// a mount keeps it open.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "faultinject/trace.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {

class LoopDevice {
 public:
  /// Over `file` (read and write), which may be closed afterwards. `direct`: requests pass by the
  /// page cache of that file. Takes a free device, makes the node where /dev has none, and tries
  /// again where somebody else was faster.
  static tl::expected<LoopDevice, TraceError> attach(int file, bool direct);

  const std::string& path() const { return path_; }  // to mount
  int fd() const { return fd_.get(); }

  /// Forgets what the kernel has cached of the device: its file was changed behind its back. Not
  /// while it is mounted.
  tl::expected<void, TraceError> forget_cached();

 private:
  LoopDevice(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  UniqueFd fd_;
};

/// Why this machine cannot attach loop devices; empty: it can.
std::string why_no_loop_devices();

}  // namespace crashgate::faultinject
