// A directory that this process alone sees: a tmpfs of its own, mounted over a path in a mount
// namespace of its own. So each of several jobs can have its crash state at one and the same
// absolute path - that of the recorded directory, which a program may have written into its files.
//
// For a process with one thread, before it starts any other: its children see the view, nobody else
// does. Where we are not root, it takes a user namespace too, in which only our own user is known.
// The mount goes with its owner, or with the last process of the namespace. Move-only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

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

  StateView(StateView&& other) noexcept
      : directory_(std::exchange(other.directory_, {})), owner_(other.owner_) {}
  StateView& operator=(StateView&&) = delete;
  ~StateView();

  const std::string& directory() const { return directory_; }

 private:
  explicit StateView(std::string directory);
  std::string directory_;  // empty: moved from
  pid_t owner_;            // a process forked from it is in the view, but does not end it
};

}  // namespace crashgate::harness
