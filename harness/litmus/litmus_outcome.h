// What a recovered tree shows of a litmus program's question, in words: "f new and zeros".
#pragma once

#include <string>
#include <vector>

#include "harness/crash_state/directory_tree.h"

namespace crashgate::harness {

/// `before`: the tree that the setup left; `after`: the one that the whole program makes.
/// Each look in words, joined by commas:
///   absent, there       (a directory, a symlink, or what the program does not change)
///   old, new            as before, as after
///   empty, zeros        of full size, unless "short"
///   new and zeros, ...  what its bytes are, in parts; "short": not of the size that it has after
///   old mode, ...       where the program changes the mode or an attribute
std::string litmus_outcome(const std::vector<std::string>& looks, const DirectoryTree& before,
                           const DirectoryTree& after, const DirectoryTree& found);

/// Null where the path leads nowhere. No symlinks are followed.
const TreeFile* find_file(const DirectoryTree& tree, const std::string& path);

/// In how many paths two trees differ.
std::size_t distance(const DirectoryTree& one, const DirectoryTree& other);

}  // namespace crashgate::harness
