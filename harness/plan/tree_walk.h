// Directory trees read with few system calls, since every run reads its root two or three times. No
// symlink is followed.
#pragma once

#include <functional>
#include <string>

namespace crashgate::harness {

struct TreeEntry {
  int directory;            // descriptor of the directory that holds it, valid during the visit
  const std::string& name;  // in that directory
  const std::string& path;  // relative to the root
  unsigned char type;       // DT_REG, DT_DIR ... of <dirent.h>
};

/// Visits everything below `root`, a directory before what it holds. What cannot be read, or is
/// gone, is left out.
void walk_tree(const std::string& root, const std::function<void(const TreeEntry&)>& visit);

/// The content of a regular file, as far as it can be read.
std::string content_of(const TreeEntry& file);

}  // namespace crashgate::harness
