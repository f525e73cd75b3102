// A private directory (0700) that is removed with all its contents at the end of its owner's life.
// Removal follows no symlink. The process that created it removes it; a forked child that inherits
// the owner does not.
//
// Whoever is killed leaves his behind, and the next who makes one removes it. Who still uses one is
// told by a lock (flock) on the directory, which ends with the last process that inherited it;
// process ids decide nothing.
#pragma once

#include <sys/types.h>

#include <string>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

class ScratchDirectory {
 public:
  /// Made in `parent`, which is itself in a scratch directory: it goes with that.
  static Result<ScratchDirectory> create_in(const std::string& parent);
  /// Made in CRASHGATE_TMPDIR if set, else in /dev/shm where that is a writable tmpfs, else in
  /// TMPDIR or /tmp. Removes what dead owners of ours have left there.
  static Result<ScratchDirectory> create();
  ScratchDirectory(ScratchDirectory&& other) noexcept;
  ScratchDirectory& operator=(ScratchDirectory&& other) noexcept;
  ~ScratchDirectory();

  const std::string& path() const { return path_; }

 private:
  ScratchDirectory(std::string path, pid_t owner) : path_(std::move(path)), owner_(owner) {}
  std::string path_;  // empty: moved from
  pid_t owner_ = 0;
  UniqueFd lock_;
};

/// Removes `path` and all below it, without following symlinks. What is gone already is no error.
Result<void> remove_tree(const std::string& path);
/// The same of one entry of a directory that is open. 0, or the errno of what failed.
int remove_entry(int directory, const char* name);
/// Copies the directories, regular files and symlinks of the tree at `from` to `to`, which must not
/// exist.
Result<void> copy_tree(const std::string& from, const std::string& to);

}  // namespace crashgate::harness
