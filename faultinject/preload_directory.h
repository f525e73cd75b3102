// A directory of mode 0700 for the files that a preloaded shim shares with whoever preloads it,
// removed at the end of its owner's life. Not thread-safe; move-only.
//
// Who is killed leaves his behind, and the next who makes one there removes it. A lock (flock) on
// the directory tells that its owner lives: what his program still starts after his death may find
// it gone.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {

class PreloadDirectory {
 public:
  /// Made in `base`, from which those of dead owners are removed. The error is one line.
  static tl::expected<PreloadDirectory, std::string> create(const std::string& base);
  PreloadDirectory(PreloadDirectory&& other) noexcept
      : directory_(std::exchange(other.directory_, {})), lock_(std::move(other.lock_)) {}
  PreloadDirectory& operator=(PreloadDirectory&&) = delete;
  ~PreloadDirectory();

  /// The file to share.
  std::string shared_file() const;
  /// A name of the library that LD_PRELOAD can carry, since it separates names by spaces and
  /// colons.
  tl::expected<std::string, std::string> preloadable(const std::string& library) const;

 private:
  PreloadDirectory(std::string directory, UniqueFd lock)
      : directory_(std::move(directory)), lock_(std::move(lock)) {}

  std::string directory_;  // empty: moved from
  UniqueFd lock_;
};

/// "LD_PRELOAD=...": the library, behind what LD_PRELOAD names already.
std::string preload_variable(const std::string& library);

}  // namespace crashgate::faultinject
