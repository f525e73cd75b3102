// Files are kept as their blocks that are not all zero, so that holes cost nothing.
#include "faultinject/trace_explanation.h"

#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace crashgate::faultinject {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kExchange = 2;  // RENAME_EXCHANGE

class Content {
 public:
  void write(std::uint64_t offset, std::string_view data) {
    for (std::uint64_t done = 0; done < data.size();) {
      const std::uint64_t within = (offset + done) % kBlock;
      const std::uint64_t part = std::min<std::uint64_t>(kBlock - within, data.size() - done);
      auto& block = blocks_[(offset + done) / kBlock];
      block.resize(kBlock);
      block.replace(within, part, data.substr(done, part));
      done += part;
    }
    size_ = std::max(size_, offset + data.size());
  }
  void clear(std::uint64_t offset, std::uint64_t length) {
    if (offset >= size_) return;
    const std::uint64_t end = offset + std::min(length, size_ - offset);
    for (auto block = blocks_.lower_bound(offset / kBlock);
         block != blocks_.end() && block->first * kBlock < end; ++block) {
      const std::uint64_t start = block->first * kBlock;
      const std::uint64_t from = std::max(offset, start) - start;
      const std::uint64_t to = std::min(end, start + kBlock) - start;
      block->second.replace(from, to - from, to - from, '\0');
    }
  }
  void resize(std::uint64_t size) {
    if (size < size_) clear(size, size_ - size);
    size_ = size;
  }
  /// `length` bytes at `offset` go, and what follows moves down.
  void collapse(std::uint64_t offset, std::uint64_t length) { move_tail(offset + length, offset); }
  /// What follows `offset` moves up by `length` bytes.
  void insert(std::uint64_t offset, std::uint64_t length) { move_tail(offset, offset + length); }
  std::uint64_t size() const { return size_; }
  bool operator==(const Content& other) const {
    return size_ == other.size_ && holds_all_of(other) && other.holds_all_of(*this);
  }

 private:
  /// What begins at `from` begins at `to` afterwards, with zeros where it is no more.
  void move_tail(std::uint64_t from, std::uint64_t to) {
    const std::uint64_t new_size = size_ - from + to;
    const std::map<std::uint64_t, std::string> tail(blocks_.lower_bound(from / kBlock),
                                                    blocks_.end());
    resize(std::min(from, to));
    for (const auto& [block, bytes] : tail) {
      const std::uint64_t start = std::max(from, block * kBlock);
      write(start - from + to, std::string_view(bytes).substr(start % kBlock));
    }
    resize(new_size);
  }
  bool holds_all_of(const Content& other) const {
    static const std::string kZeros(kBlock, '\0');
    return std::ranges::all_of(other.blocks_, [&](const auto& entry) {
      const auto mine = blocks_.find(entry.first);
      return entry.second == (mine == blocks_.end() ? kZeros : mine->second);
    });
  }

  std::map<std::uint64_t, std::string> blocks_;
  std::uint64_t size_ = 0;
};

struct File {
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string target;
  Content content;
  std::map<std::string, std::string> attributes;
  std::map<std::string, FileId> entries;
};

class Tree {
 public:
  Tree(const Trace& trace, const Snapshot& snapshot) : trace_(trace) {
    for (const SnapshotFile& file : snapshot.files) {
      File& copy = files_[file.id];
      copy = {file.mode, file.uid, file.gid, file.target, {}, file.attributes, file.entries};
      for (const Extent& extent : file.extents) {
        copy.content.write(extent.offset, trace.data(extent.data));
      }
      copy.content.resize(file.size);
    }
  }

  void apply(const TraceEvent& event) {
    if (event.kind != EventKind::kStorage || event.result < 0) return;
    File* file = event.file == kNoFile ? nullptr : &files_[event.file];
    if (event.created) *file = {event.mode, event.uid, event.gid, event.text, {}, {}, {}};
    switch (row_info(event.row).kind) {
      case Kind::kOpen:
        if (event.created && !event.name.name.empty()) enter(event.name, event.file);
        if (event.truncated) file->content.resize(0);
        return;
      case Kind::kWrite:
      case Kind::kCopy:
      case Kind::kAsync:
        if (file != nullptr) file->content.write(event.offset, trace_.data(event.data));
        return;
      case Kind::kBarrier:
        if (event.row == Row::k_msync && file != nullptr) {
          const auto data = trace_.data(event.data);
          const std::uint64_t size = file->content.size();
          if (event.offset < size) {
            file->content.write(event.offset, data.substr(0, size - event.offset));
          }
        }
        return;
      case Kind::kResize:
        return resize(event, *file);
      case Kind::kName:
        return name(event);
      case Kind::kAttribute:
        return attribute(event, *file);
      default:
        return;
    }
  }

  /// Files that are reached by name: the tree as `ls -R` shows it.
  std::map<std::string, FileId> paths() const {
    std::map<std::string, FileId> result;
    std::set<FileId> directories;
    collect(kRootFile, "", result, directories);
    return result;
  }
  const File& file(FileId id) const { return files_.at(id); }

 private:
  void enter(const NameRef& name, FileId file) {
    if (name.directory != kNoFile) files_[name.directory].entries[name.name] = file;
  }
  void leave(const NameRef& name) {
    if (name.directory != kNoFile) files_[name.directory].entries.erase(name.name);
  }

  static void resize(const TraceEvent& event, File& file) {
    Content& content = file.content;
    if (event.row != Row::k_fallocate) return content.resize(event.length);
    const std::uint64_t end = event.offset + event.length;
    if ((event.flags & FALLOC_FL_COLLAPSE_RANGE) != 0) {
      return content.collapse(event.offset, event.length);
    }
    if ((event.flags & FALLOC_FL_INSERT_RANGE) != 0) {
      return content.insert(event.offset, event.length);
    }
    if ((event.flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
      content.clear(event.offset, event.length);
    }
    if ((event.flags & FALLOC_FL_KEEP_SIZE) == 0 && end > content.size()) content.resize(end);
  }

  void name(const TraceEvent& event) {
    switch (event.row) {
      case Row::k_link:
      case Row::k_linkat:
        return enter(event.name2, event.file);
      case Row::k_rename:
      case Row::k_renameat:
      case Row::k_renameat2:
        leave(event.name);
        enter(event.name2, event.file);
        if ((event.flags & kExchange) != 0) enter(event.name, event.replaced);
        return;
      case Row::k_unlink:
      case Row::k_unlinkat:
      case Row::k_rmdir:
        return leave(event.name);
      default:
        return enter(event.name, event.file);
    }
  }

  void attribute(const TraceEvent& event, File& file) {
    const RowInfo& row = row_info(event.row);
    if (find_role(row, Role::kText) == kMaxArguments) {
      std::tie(file.mode, file.uid, file.gid) = std::tie(event.mode, event.uid, event.gid);
    } else if (event.text.starts_with("user.")) {
      const bool sets = find_role(row, Role::kSize) < kMaxArguments;
      if (sets) file.attributes[event.text] = trace_.data(event.data);
      if (!sets) file.attributes.erase(event.text);
    }
  }

  /// A directory once, under its first name: a trace with gaps may hold a circle.
  void collect(FileId id, const std::string& path, std::map<std::string, FileId>& result,
               std::set<FileId>& directories) const {
    const auto file = files_.find(id);
    if (file == files_.end()) return;
    result[path.empty() ? "." : path] = id;
    if (file->second.entries.empty() || !directories.insert(id).second) return;
    for (const auto& [name, entry] : file->second.entries) {
      collect(entry, path.empty() ? name : path + "/" + name, result, directories);
    }
  }

  const Trace& trace_;
  std::map<FileId, File> files_;
};

/// What differs; empty: nothing.
std::string difference(const File& expected, const File& found) {
  if ((expected.mode & S_IFMT) != (found.mode & S_IFMT)) return "its type";
  if (expected.content.size() != found.content.size()) return "its size";
  if (!(expected.content == found.content)) return "its content";
  if (expected.target != found.target) return "its target";
  if (S_ISLNK(found.mode)) return "";
  if (expected.mode != found.mode) return "its mode";
  if (expected.uid != found.uid || expected.gid != found.gid) return "its owner";
  if (expected.attributes != found.attributes) return "its extended attributes";
  return "";
}

}  // namespace

std::vector<std::string> unexplained_by(const Trace& trace) {
  Tree expected(trace, trace.initial);
  for (const TraceEvent& event : trace.events) expected.apply(event);
  const Tree found(trace, trace.final);
  const auto expected_paths = expected.paths();
  const auto found_paths = found.paths();
  std::vector<std::string> lines;
  for (const auto& [path, id] : found_paths) {
    const auto other = expected_paths.find(path);
    if (other == expected_paths.end()) {
      lines.push_back(path + ": no recorded call made it");
    } else if (other->second != id) {
      lines.push_back(path + ": no recorded call put this file in place of another");
    } else if (const auto what = difference(expected.file(id), found.file(id)); !what.empty()) {
      lines.push_back(path + ": " + what + " is not what the recorded calls made it");
    }
  }
  for (const auto& [path, id] : expected_paths) {
    if (!found_paths.contains(path)) lines.push_back(path + ": no recorded call removed it");
  }
  return lines;
}

}  // namespace crashgate::faultinject
