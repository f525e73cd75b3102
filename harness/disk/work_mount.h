// The file system of a disk, mounted so that its work directory stands at one path: that which the
// workload knows it by. Two mounts lie on that path, the file system's root below.
#pragma once

#include <cstdint>
#include <string>

#include "harness/disk/file_system.h"
#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

/// Owner of both mounts. Move-only. In the mount namespace of the calling process.
class WorkMount {
 public:
  enum class WorkDirectory : std::uint8_t { kMake, kIsThere };
  /// `directory`: absolute, there. Errors are those of Mount::create; kNotFound: the work directory
  /// is not on it.
  static Result<WorkMount> create(const FileSystemChoice& choice, const std::string& device,
                                  const std::string& directory,
                                  WorkDirectory work = WorkDirectory::kIsThere);
  WorkMount(WorkMount&& other) noexcept;
  WorkMount& operator=(WorkMount&&) = delete;
  ~WorkMount();

  const std::string& directory() const { return mount_.directory(); }
  int root() const { return root_.get(); }  // descriptor of the file system's root
  int work() const { return work_.get(); }  // of the work directory

  /// Closes both: a process that is forked would keep them open, and the file system busy.
  void close_descriptors() {
    root_.reset(-1);
    work_.reset(-1);
  }

  /// Whoever uses the file system must have gone: else EBUSY, it stays mounted, and may be tried
  /// again.
  Result<void> unmount();

 private:
  explicit WorkMount(Mount mount) : mount_(std::move(mount)) {}
  Result<void> unbind();

  Mount mount_;
  UniqueFd root_;
  UniqueFd work_;
  bool bound_ = false;
};

}  // namespace crashgate::harness
