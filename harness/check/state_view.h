// A directory that this process alone sees: a tmpfs of its own, mounted over a path in a mount
// namespace of its own. So each of several jobs can have its crash state at one and the same
// absolute path - that of the recorded directory, which a program may have written into its files.
//
// For a process with one thread, before it starts any other: its children see the view, nobody else
// does. Where we are not root, it takes a user namespace too, in which only our own user is known.
// The mount goes with the last process of the namespace.
#pragma once

#include <cstdint>
#include <string>

#include "store/error.h"

namespace crashgate::harness {

class StateView {
 public:
  /// Mounts over `directory`, an absolute path of a directory that is there; what it held is
  /// hidden, and is not touched. The view is empty, 0700, of at most `bytes`: beyond it, writes
  /// fail with ENOSPC. An error (kPermissionDenied as a rule) says what the machine does not
  /// permit: use a directory elsewhere. Then this process may be in new namespaces, which does no
  /// harm.
  static Result<StateView> create(const std::string& directory,
                                  std::uint64_t bytes = std::uint64_t{1} << 30);

  const std::string& directory() const { return directory_; }

 private:
  explicit StateView(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace crashgate::harness
