#include "harness/crash_state/directory_tree.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <set>

#include "harness/crash_state/tree_hash.h"

namespace crashgate::harness {
namespace tree_hash {
namespace {

/// splitmix64's finalizer: 61 bits that depend on all of the index.
std::uint64_t content_key(std::uint64_t index) {
  index += 0x9e3779b97f4a7c15;
  index = (index ^ (index >> 30)) * 0xbf58476d1ce4e5b9;
  index = (index ^ (index >> 27)) * 0x94d049bb133111eb;
  return (index ^ (index >> 31)) >> 3;
}

std::uint64_t reduce(Wide sum) {
  const auto fold = [](Wide value) { return (value & kContentModulus) + (value >> 61); };
  const auto result = static_cast<std::uint64_t>(fold(fold(fold(sum))));
  return result >= kContentModulus ? result - kContentModulus : result;
}

}  // namespace

std::uint64_t content(const ContentPiece& piece) {
  static_assert(std::endian::native == std::endian::little);
  constexpr std::size_t kWord = sizeof(std::uint32_t);
  Wide sum = 0;
  std::string_view bytes = piece.bytes;
  std::uint64_t offset = piece.offset;
  while (!bytes.empty()) {
    const std::size_t shift = offset % kWord;
    const std::size_t length = std::min(bytes.size(), kWord - shift);
    std::uint32_t word = 0;
    std::memcpy(reinterpret_cast<char*>(&word) + shift, bytes.data(), length);
    sum += static_cast<Wide>(word) * content_key(offset / kWord);
    bytes.remove_prefix(length);
    offset += length;
  }
  return reduce(sum);
}

std::uint64_t attributes(const TreeFile& file) {
  std::uint64_t sum = 0;
  for (const auto& [name, value] : file.attributes) sum += mix(text(name), text(value));
  return sum;
}

std::uint64_t file(const TreeFile& file, std::uint64_t target, std::uint64_t attributes_sum,
                   std::uint64_t content_sum, std::uint64_t entries_sum) {
  const std::array<std::uint64_t, 7> fields{
      file.mode,      std::uint64_t{file.uid} << 32 | file.gid,
      file.size,      target,
      attributes_sum, content_sum,
      entries_sum};
  return XXH3_64bits(fields.data(), sizeof fields);
}

}  // namespace tree_hash

namespace {

/// Walks down from the root. A directory that is below itself, which no file system makes, counts
/// there as nothing.
class TreeHasher {
 public:
  explicit TreeHasher(const DirectoryTree& tree) : tree_(tree) {}

  std::uint64_t hash() {
    std::uint64_t sum = visit(tree_.root, tree_hash::kRootPath);
    for (const auto& [id, names] : names_) {
      if (names.count > 1) sum += tree_hash::links(names.paths);
    }
    return sum;
  }

 private:
  struct Names {
    std::size_t count = 0;
    std::uint64_t paths = 0;
  };

  std::uint64_t visit(FileId id, std::uint64_t path) {
    Names& names = names_[id];
    ++names.count;
    names.paths += path;
    const auto found = tree_.files.find(id);
    if (found == tree_.files.end() || !above_.insert(id).second) return 0;
    const TreeFile& file = found->second;
    std::uint64_t content = 0;
    for (const ContentPiece& piece : file.content) {
      content = tree_hash::add_content(content, tree_hash::content(piece));
    }
    std::uint64_t entries = 0;
    for (const auto& [name, child] : file.entries) {
      const std::uint64_t name_hash = tree_hash::text(name);
      entries += tree_hash::entry(name_hash, visit(child, tree_hash::path(path, name_hash)));
    }
    above_.erase(id);
    return tree_hash::file(file, tree_hash::text(file.target), tree_hash::attributes(file), content,
                           entries);
  }

  const DirectoryTree& tree_;
  std::unordered_map<FileId, Names> names_;
  std::set<FileId> above_;
};

std::string type_name(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "a file";
    case S_IFDIR:
      return "a directory";
    case S_IFLNK:
      return "a symlink";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

/// Reads a file's bytes in order; holes are zeros.
class ContentReader {
 public:
  explicit ContentReader(const TreeFile& file) : file_(file) {}

  /// From `offset`, which never goes back, as many bytes as are alike in kind: of one piece, or
  /// (null data) of one hole.
  std::string_view at(std::uint64_t offset) {
    while (next_ < file_.content.size() &&
           file_.content[next_].offset + file_.content[next_].bytes.size() <= offset) {
      ++next_;
    }
    if (next_ == file_.content.size()) return {nullptr, file_.size - offset};
    const ContentPiece& piece = file_.content[next_];
    if (piece.offset > offset) return {nullptr, piece.offset - offset};
    return piece.bytes.substr(offset - piece.offset);
  }

 private:
  const TreeFile& file_;
  std::size_t next_ = 0;
};

/// The first byte in which two contents of one size differ; the size where none does.
std::uint64_t first_different_byte(const TreeFile& expected, const TreeFile& found) {
  ContentReader first(expected);
  ContentReader second(found);
  for (std::uint64_t offset = 0; offset < expected.size;) {
    const std::string_view ours = first.at(offset);
    const std::string_view theirs = second.at(offset);
    const std::size_t length = std::min(ours.size(), theirs.size());
    if (ours.data() == nullptr && theirs.data() == nullptr) {
      offset += length;
      continue;
    }
    for (std::size_t at = 0; at < length; ++at, ++offset) {
      const char our = ours.data() == nullptr ? '\0' : ours[at];
      const char their = theirs.data() == nullptr ? '\0' : theirs[at];
      if (our != their) return offset;
    }
  }
  return expected.size;
}

std::string difference_of_files(const TreeFile& expected, const TreeFile& found) {
  if ((expected.mode & S_IFMT) != (found.mode & S_IFMT)) {
    return fmt::format("{}, not {}", type_name(expected.mode), type_name(found.mode));
  }
  if (expected.mode != found.mode) {
    return fmt::format("mode {:04o}, not {:04o}", expected.mode & ~S_IFMT, found.mode & ~S_IFMT);
  }
  if (expected.uid != found.uid || expected.gid != found.gid) {
    return fmt::format("owner {}:{}, not {}:{}", expected.uid, expected.gid, found.uid, found.gid);
  }
  if (expected.target != found.target) {
    return fmt::format("symlink to {}, not {}", expected.target, found.target);
  }
  if (expected.size != found.size) {
    return fmt::format("{} bytes, not {}", expected.size, found.size);
  }
  if (const auto byte = first_different_byte(expected, found); byte != expected.size) {
    return fmt::format("differs at byte {}", byte);
  }
  if (expected.attributes != found.attributes) {
    const auto [ours, theirs] = std::ranges::mismatch(expected.attributes, found.attributes);
    const std::string& name =
        ours == expected.attributes.end() ||
                (theirs != found.attributes.end() && theirs->first < ours->first)
            ? theirs->first
            : ours->first;
    return fmt::format("attribute {} differs", name);
  }
  return "";
}

class TreeComparer {
 public:
  TreeComparer(const DirectoryTree& expected, const DirectoryTree& found)
      : expected_(expected), found_(found) {}

  std::string compare(FileId expected, FileId found, const std::string& path) {
    const auto say = [&](const std::string& text) {
      return (path.empty() ? std::string(".") : path) + ": " + text;
    };
    // The file that has a name here must have all the other names that its counterpart has.
    const auto& known = first_path_.try_emplace(expected, path).first->second;
    const auto& known_found = first_path_found_.try_emplace(found, path).first->second;
    if (known != known_found) {
      return say(known != path ? "a hard link of " + known + " is expected, and is none"
                               : "a hard link of " + known_found + ", and none is expected");
    }
    const TreeFile& ours = expected_.files.at(expected);
    const TreeFile& theirs = found_.files.at(found);
    if (const std::string text = difference_of_files(ours, theirs); !text.empty()) return say(text);
    if (known != path) return "";
    auto our = ours.entries.begin();
    auto their = theirs.entries.begin();
    while (our != ours.entries.end() || their != theirs.entries.end()) {
      const bool only_ours =
          their == theirs.entries.end() || (our != ours.entries.end() && our->first < their->first);
      const bool only_theirs =
          !only_ours && (our == ours.entries.end() || their->first < our->first);
      const std::string& name = only_theirs ? their->first : our->first;
      const std::string below = path.empty() ? name : path + "/" + name;
      if (only_ours) return below + ": missing";
      if (only_theirs) return below + ": not expected";
      if (std::string text = compare(our->second, their->second, below); !text.empty()) return text;
      ++our;
      ++their;
    }
    return "";
  }

 private:
  const DirectoryTree& expected_;
  const DirectoryTree& found_;
  std::unordered_map<FileId, std::string> first_path_;
  std::unordered_map<FileId, std::string> first_path_found_;
};

}  // namespace

DirectoryTree tree_of(const faultinject::Trace& trace, const faultinject::Snapshot& snapshot) {
  DirectoryTree tree;
  if (!snapshot.files.empty()) tree.root = snapshot.files.front().id;
  for (const faultinject::SnapshotFile& file : snapshot.files) {
    TreeFile& made = tree.files[file.id];
    made.mode = file.mode;
    made.uid = file.uid;
    made.gid = file.gid;
    made.size = S_ISREG(file.mode) ? file.size : 0;
    for (const faultinject::Extent& extent : file.extents) {
      if (extent.offset >= file.size) continue;
      const auto bytes = trace.data(extent.data).substr(0, file.size - extent.offset);
      if (!bytes.empty()) made.content.push_back({extent.offset, bytes});
    }
    made.target = file.target;
    made.attributes = file.attributes;
    made.entries = file.entries;
  }
  return tree;
}

std::uint64_t hash_of(const DirectoryTree& tree) {
  return TreeHasher(tree).hash();
}

std::string first_difference(const DirectoryTree& expected, const DirectoryTree& found) {
  return TreeComparer(expected, found).compare(expected.root, found.root, "");
}

}  // namespace crashgate::harness
