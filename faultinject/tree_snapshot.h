// Reads a directory tree into a Snapshot: names, types, modes, owners, symlink targets, extended
// attributes of the user namespace, the bytes of regular files without their holes, and which names
// are hard links of one file. No symlink is followed. Sockets are left out: a socket's name means
// nothing once the process that listened is gone.
//
// The tree must not change meanwhile. Times are not read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "faultinject/file_numbering.h"
#include "faultinject/trace.h"

namespace crashgate::faultinject {

/// The files that the user declared disposable. A glob (fnmatch; `*` matches `/` too) is compared
/// with the whole path relative to the tree and with its last component; what lies below an ignored
/// directory is ignored with it.
class IgnoredPaths {
 public:
  IgnoredPaths() = default;
  explicit IgnoredPaths(std::vector<std::string> globs) : globs_(std::move(globs)) {}
  bool empty() const { return globs_.empty(); }
  bool contains(const std::string& relative_path) const;

 private:
  std::vector<std::string> globs_;
};

/// Files get their ids from `numbering` (the root, read first, is kRootFile if that is still
/// empty), their data is appended to `bytes`. A tree that cannot be read whole is an error.
tl::expected<Snapshot, TraceError> read_tree(const std::string& directory,
                                             const IgnoredPaths& ignored, FileNumbering& numbering,
                                             std::string& bytes);

}  // namespace crashgate::faultinject
