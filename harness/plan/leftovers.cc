#include "harness/plan/leftovers.h"

#include <dirent.h>

#include <algorithm>

#include "harness/plan/payload.h"
#include "harness/plan/tree_walk.h"

namespace crashgate::harness {

std::vector<std::string> find_leftovers(const std::string& root,
                                        const std::vector<std::string>& keys) {
  std::vector<std::string> leftovers;
  walk_tree(root, [&](const TreeEntry& entry) {
    if (entry.type != DT_REG || std::ranges::binary_search(keys, entry.path)) return;
    if (contains_cell(content_of(entry))) leftovers.push_back(entry.path);
  });
  std::ranges::sort(leftovers);
  return leftovers;
}

}  // namespace crashgate::harness
