// A disk that writes down what it is asked to do: a block device served from user space.
//
//   file system -> loop device (direct I/O) -> one file of a FUSE file system -> server process
//
// The server keeps the disk's content in memory, and logs each write with its data, each flush,
// discard and zero-out, with a stamp at both ends (block_trace.h). It takes all requests that wait
// before it answers the first: requests that the block layer had under way at once overlap in the
// log, too. Nearly: a write that is answered while a flush is on its way from the block layer to
// the server stands before that flush. So the log promises a little more than the block layer did,
// and some crash states are missed, never invented (block_layer_test.cc counts them: of the pairs
// of a write and a later flush, some in 10,000 with writers that wait for nobody).
//
// For a process in a mount namespace of its own (the FUSE file system is mounted there): nothing
// shows outside, and all of it goes when the process does, by SIGKILL too - the server dies with
// its parent, the loop device with its last user, the memory with both. Before the disk is
// destroyed, unmount what is mounted on it. Not thread-safe.
//
// Needs root, /dev/fuse and loop devices.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "faultinject/disk/block_trace.h"
#include "faultinject/trace.h"

namespace crashgate::faultinject {

class RecordedDisk {
 public:
  /// `image`: a file in memory (memfd_create), which the disk works on: it holds the disk's
  /// content, and its size is the disk's. `mount_point`: an empty directory, for the FUSE file
  /// system. `log_bytes`: of data logged at most; memory is taken as it is used. The disk lives as
  /// long as the thread that created it, and forked children must not destroy it.
  static tl::expected<RecordedDisk, TraceError> create(int image, const std::string& mount_point,
                                                       std::uint64_t log_bytes = std::uint64_t{4}
                                                                                 << 30);
  RecordedDisk(RecordedDisk&&) noexcept;
  RecordedDisk& operator=(RecordedDisk&&) noexcept;
  ~RecordedDisk();

  const std::string& device() const;  // "/dev/loop3"

  /// The last stamp given; in memory shared with children.
  const std::atomic<std::uint64_t>& stamp() const;

  /// All that was logged until now. The first is a flush, which the loop driver makes when it is
  /// attached. An error: the log was full, or the server has died.
  tl::expected<BlockTrace, TraceError> collect() const;

 private:
  struct State;
  explicit RecordedDisk(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Why this machine cannot have a recorded disk, in one line: not root, no /dev/fuse, no loop
/// devices, no mount namespaces. Empty: it can.
std::string why_no_recorded_disk();

}  // namespace crashgate::faultinject
