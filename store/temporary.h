// Files that hold a payload before it is published.
//
// A temporary is locked with flock for as long as its writer lives: the lock, and no process id,
// tells recover that it is in use. An unnamed one (O_TMPFILE) is locked before it gets a name.
// Where the file system has none, it is created under a name and locked, and then looked at again,
// since recover may have removed it in between.
//
// Names are 32 hexadecimal digits from getrandom, never used twice. So a name that this process
// made up refers to its own file or to nothing, and may be unlinked without a look.
//
// A child that a thread forks meanwhile shares the lock until it execs or exits; recover then calls
// the file in use.
#pragma once

#include <string>
#include <string_view>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate {

/// Not thread-safe; move-only. Its destructor removes the name in the temporaries' directory, where
/// it has one still.
class Temporary {
 public:
  /// A new, locked file in `directory`, which must stay open longer than the result.
  static Result<Temporary> create_unnamed(int directory);
  static Result<Temporary> create_named(int directory);

  Temporary(Temporary&& other) noexcept;
  Temporary& operator=(Temporary&&) noexcept;
  ~Temporary();

  Result<void> write(std::string_view payload) const;
  /// Links an unnamed file into its directory; nothing to do for a named one. NotFound with ENOENT
  /// where this process cannot link descriptors.
  Result<void> give_name();
  /// fsync, and a check of the size. After a failure the file must not be published.
  Result<void> sync(std::size_t size) const;

  /// Renames a named file over `name` in `parent`.
  Result<void> replace(int parent, const std::string& name);
  /// Gives the file the name `name` in `parent` if that is free, or AlreadyExists. NotFound with
  /// ENOENT where the file is unnamed and this process cannot link descriptors, or where `parent`
  /// has been removed.
  Result<void> publish_new(int parent, const std::string& name);

 private:
  Temporary(int directory, UniqueFd file) : directory_(directory), file_(std::move(file)) {}

  int directory_;
  UniqueFd file_;
  std::string name_;  // in directory_; empty while it has none
};

enum class Naming { kNamed, kMayStayUnnamed };

/// A temporary in `directory` whose content is durable, ready to be published.
Result<Temporary> write_temporary(int directory, std::string_view payload, Naming naming);

}  // namespace crashgate
