// Makes a DirectoryTree real in a directory, step by step from what it made there last: only what
// differs is written. Names, types, modes, owners (where permitted), hard links, symlinks, extended
// attributes and holes are kept; times are not (all are set to 1970). A device gets the number 0:0,
// since a tree knows no other. Of a directory that a tree names twice (a rename that came half) the
// first name in order of depth and path is made: the one that a file system check would leave.
//
// The directory should be on tmpfs. Whoever looks at the tree may change it: say so with
// verify_before_next(), and the next call finds out what was changed and mends it. By then they
// should have ended: what somebody writes to the tree during make() may remain.
// Nothing is followed through a symlink out of the directory. Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "harness/crash_state/directory_tree.h"
#include "store/error.h"

namespace crashgate::harness {

class Materializer {
 public:
  /// `directory` exists and is empty; it stays the caller's to remove.
  static Result<Materializer> create(const std::string& directory);
  Materializer(Materializer&&) noexcept;
  Materializer& operator=(Materializer&&) noexcept;
  ~Materializer();

  /// Afterwards the directory holds `tree`, or (an error: kNoSpace where the file system is full,
  /// kPermissionDenied where a device or an attribute is not ours to make) an unknown part, and the
  /// next call starts afresh. The bytes that `tree` points to must outlive this Materializer; two
  /// pieces at one address are taken to be equal.
  Result<void> make(const DirectoryTree& tree);

  /// Somebody has had access to the directory since the last make().
  void verify_before_next();

 private:
  struct State;
  explicit Materializer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace crashgate::harness
