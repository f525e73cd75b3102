// A directory tree in memory: what a crash leaves, what a trace predicts. Data is not copied: a
// file's content is a list of pieces that point into a trace's bytes.
//
// Hard links: two entries may name one file. Unreachable files may be there; they count for
// nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::harness {

using faultinject::FileId;

/// Bytes of a file at an offset; never empty. Pieces are sorted and disjoint; between them, and
/// from the last one to the size, there are zeros (a hole). None reaches beyond the file's size.
struct ContentPiece {
  std::uint64_t offset = 0;
  std::string_view
      bytes;  // of the trace that the tree was made from, which must outlive it, or owned
  bool operator==(const ContentPiece&) const = default;
};

struct TreeFile {
  std::uint32_t mode = 0;  // st_mode, type included
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;                         // regular files
  std::vector<ContentPiece> content;              // regular files
  std::string target;                             // symlinks
  std::map<std::string, std::string> attributes;  // extended attributes
  std::map<std::string, FileId> entries;          // directories
};

struct DirectoryTree {
  FileId root = faultinject::kRootFile;
  std::unordered_map<FileId, TreeFile> files;
  std::shared_ptr<const void> owned;  // keeps the bytes that are not the trace's
};

DirectoryTree tree_of(const faultinject::Trace& trace, const faultinject::Snapshot& snapshot);

/// Equal for trees that no program can tell apart: names, types, modes, owners, targets, extended
/// attributes, bytes, and which names are hard links of one file. Holes are zeros. FileIds, and
/// what cannot be reached from the root, do not count. 64 bits.
std::uint64_t hash_of(const DirectoryTree& tree);

/// "": no difference (as by hash_of); else the first, in order of path: `data/x: 12 bytes, not 13`.
std::string first_difference(const DirectoryTree& expected, const DirectoryTree& found);

}  // namespace crashgate::harness
