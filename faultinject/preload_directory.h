// A directory of mode 0700 for the files that a preloaded shim shares with whoever preloads it,
// removed at the end of its owner's life. Not thread-safe; move-only.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace crashgate::faultinject {

class PreloadDirectory {
 public:
  /// Made in `base`. The error is one line.
  static tl::expected<PreloadDirectory, std::string> create(const std::string& base);
  PreloadDirectory(PreloadDirectory&& other) noexcept
      : directory_(std::exchange(other.directory_, {})) {}
  PreloadDirectory& operator=(PreloadDirectory&&) = delete;
  ~PreloadDirectory();

  /// The file to share.
  std::string shared_file() const { return directory_ + "/shared"; }
  /// A name of the library that LD_PRELOAD can carry, since it separates names by spaces and
  /// colons.
  tl::expected<std::string, std::string> preloadable(const std::string& library) const;

 private:
  explicit PreloadDirectory(std::string directory) : directory_(std::move(directory)) {}
  std::string link_path() const;

  std::string directory_;  // empty: moved from
};

/// "LD_PRELOAD=...": the library, behind what LD_PRELOAD names already.
std::string preload_variable(const std::string& library);

}  // namespace crashgate::faultinject
