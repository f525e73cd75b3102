// Traces for tests: a file system of a few lines, in memory, that does what it is told and writes
// down the events as a recorder would, with their FileIds, offsets, stamps and both snapshots.
//
//   TraceBuilder builder;
//   builder.mkdir("d");
//   builder.start();  // what was done so far is the initial tree
//   const FileId file = builder.create("d/f");
//   builder.append(file, "text");
//   builder.fsync(file);
//   builder.acknowledge("done\n");
//   const Trace trace = builder.finish();
//
// Calls of one thread, one after the other; concurrent() and never_returns() say otherwise of the
// last ones. A path that is not there throws std::out_of_range. Contents are held whole: keep
// offsets small.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::harness {

using faultinject::FileId;
using faultinject::kNoFile;
using faultinject::kRootFile;
using faultinject::Row;
using faultinject::Trace;
using faultinject::TraceEvent;
using faultinject::WriteSync;

class TraceBuilder {
 public:
  TraceBuilder() {
    files_[kRootFile].mode = S_IFDIR | 0755;
    start();
  }

  /// The tree as it is now is the initial one; events up to here are forgotten.
  void start() {
    trace_.events.clear();
    trace_.bytes.clear();
    stamp_ = 0;
    trace_.initial = snapshot();
  }

  /// The file at a path; "" is the root.
  FileId file(std::string_view path) const {
    FileId id = kRootFile;
    while (!path.empty()) {
      const auto slash = std::min(path.find('/'), path.size());
      id = files_.at(id).entries.at(std::string(path.substr(0, slash)));
      path.remove_prefix(std::min(slash + 1, path.size()));
    }
    return id;
  }

  /// O_CREAT, of a name that is not there.
  FileId create(std::string_view path, std::uint32_t mode = 0644) {
    return make(Row::k_openat, path, S_IFREG | mode);
  }
  FileId mkdir(std::string_view path, std::uint32_t mode = 0755) {
    return make(Row::k_mkdir, path, S_IFDIR | mode);
  }
  FileId symlink(const std::string& target, std::string_view path) {
    const FileId id = make(Row::k_symlink, path, S_IFLNK | 0777);
    last().text = files_[id].target = target;
    return id;
  }
  /// O_TMPFILE: a file without a name.
  FileId create_unnamed(std::uint32_t mode = 0600) {
    TraceEvent& event = add(Row::k_openat);
    event.created = true;
    event.mode = S_IFREG | mode;
    event.file = ++last_file_;
    files_[event.file].mode = event.mode;
    return event.file;
  }
  /// O_TRUNC of a file that is there.
  void open_truncating(FileId id) {
    TraceEvent& event = add(Row::k_openat, id);
    event.truncated = true;
    files_.at(id).content.clear();
  }

  void write(FileId id, std::uint64_t offset, std::string_view text,
             WriteSync sync = WriteSync::kNone) {
    put(add(Row::k_pwrite64, id), offset, text, sync);
  }
  void append(FileId id, std::string_view text, WriteSync sync = WriteSync::kNone) {
    put(add(Row::k_write, id), files_.at(id).content.size(), text, sync);
  }
  void copy(FileId source, std::uint64_t from, FileId id, std::uint64_t offset,
            std::uint64_t length) {
    const std::string text = files_.at(source).content.substr(from, length);
    TraceEvent& event = add(Row::k_copy_file_range, id);
    event.source = source;
    put(event, offset, text, WriteSync::kNone);
  }
  void truncate(FileId id, std::uint64_t length) {
    add(Row::k_ftruncate, id).length = length;
    files_.at(id).content.resize(length);
  }
  /// `mode`: 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, or
  /// FALLOC_FL_ZERO_RANGE with or without FALLOC_FL_KEEP_SIZE.
  void fallocate(FileId id, int mode, std::uint64_t offset, std::uint64_t length) {
    TraceEvent& event = add(Row::k_fallocate, id);
    event.flags = static_cast<std::uint64_t>(mode);
    event.offset = offset;
    event.length = length;
    std::string& content = files_.at(id).content;
    const std::uint64_t end = offset + length;
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && end > content.size()) content.resize(end);
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
      for (std::uint64_t at = offset; at < std::min<std::uint64_t>(end, content.size()); ++at) {
        content[at] = '\0';
      }
    }
  }

  void fsync(FileId id, std::int64_t result = 0) { add(Row::k_fsync, id).result = result; }
  void fdatasync(FileId id, std::int64_t result = 0) { add(Row::k_fdatasync, id).result = result; }
  void syncfs(std::int64_t result = 0) { add(Row::k_syncfs).result = result; }
  void sync() { add(Row::k_sync); }
  /// `text` was stored through a shared mapping at some time before, and is what msync found.
  void msync(FileId id, std::uint64_t offset, std::string_view text, std::int64_t result = 0) {
    TraceEvent& event = add(Row::k_msync, id);
    put(event, offset, text, WriteSync::kNone);
    event.result = result;
  }

  void rename(std::string_view from, std::string_view to, unsigned flags = 0) {
    TraceEvent& event = add(flags == 0 ? Row::k_rename : Row::k_renameat2, file(from));
    event.name = name_of(from);
    event.name2 = name_of(to);
    event.flags = flags;
    auto& target = files_.at(event.name2.directory).entries;
    if (const auto there = target.find(event.name2.name); there != target.end()) {
      event.replaced = there->second;
    }
    if (event.replaced == event.file) return;  // two links of one file: rename(2) does nothing
    target[event.name2.name] = event.file;
    auto& source = files_.at(event.name.directory).entries;
    if ((flags & RENAME_EXCHANGE) != 0) {
      source[event.name.name] = event.replaced;
    } else {
      source.erase(event.name.name);
    }
  }
  void link(std::string_view from, std::string_view to) {
    link(file(from), to);
    last().name = name_of(from);
  }
  /// linkat with AT_EMPTY_PATH: gives a name to an unnamed file.
  void link(FileId id, std::string_view to) {
    TraceEvent& event = add(Row::k_link, id);
    event.name2 = name_of(to);
    files_.at(event.name2.directory).entries[event.name2.name] = id;
  }
  void unlink(std::string_view path) { remove(Row::k_unlink, path); }
  void rmdir(std::string_view path) { remove(Row::k_rmdir, path); }

  void chmod(FileId id, std::uint32_t mode) {
    File& file = files_.at(id);
    file.mode = (file.mode & S_IFMT) | mode;
    add(Row::k_fchmod, id).mode = file.mode;
  }
  void chown(FileId id, std::uint32_t uid, std::uint32_t gid) {
    TraceEvent& event = add(Row::k_fchown, id);
    event.uid = files_.at(id).uid = uid;
    event.gid = files_.at(id).gid = gid;
  }
  void setxattr(FileId id, const std::string& name, std::string_view value) {
    TraceEvent& event = add(Row::k_fsetxattr, id);
    event.text = name;
    event.data = trace_.add_data(value);
    files_.at(id).attributes[name] = value;
  }
  void removexattr(FileId id, const std::string& name) {
    add(Row::k_fremovexattr, id).text = name;
    files_.at(id).attributes.erase(name);
  }

  void acknowledge(std::string_view text) {
    TraceEvent& event = add(Row::kCount);
    event.kind = faultinject::EventKind::kAcknowledgement;
    event.data = trace_.add_data(text);
  }

  /// The event that was added last, to be changed by hand.
  TraceEvent& last() { return trace_.events.back(); }
  /// The last `count` events were under way at once: all began before the first of them ended.
  void concurrent(std::size_t count) {
    const std::size_t first = trace_.events.size() - count;
    std::uint64_t stamp = trace_.events[first].begin;
    for (std::size_t at = first; at < trace_.events.size(); ++at) trace_.events[at].begin = stamp++;
    for (std::size_t at = first; at < trace_.events.size(); ++at) trace_.events[at].end = stamp++;
  }
  /// The last event was under way when the recording ended.
  void never_returns() { last().end = 0; }

  Trace finish() {
    trace_.final = snapshot();
    return std::move(trace_);
  }

 private:
  struct File {
    std::uint32_t mode = 0;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::string content;
    std::string target;
    std::map<std::string, std::string> attributes;
    std::map<std::string, FileId> entries;
  };

  TraceEvent& add(Row row, FileId id = kNoFile) {
    TraceEvent& event = trace_.events.emplace_back();
    event.row = row;
    event.file = id;
    event.begin = ++stamp_;
    event.end = ++stamp_;
    return event;
  }

  faultinject::NameRef name_of(std::string_view path) const {
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos) return {kRootFile, std::string(path)};
    return {file(path.substr(0, slash)), std::string(path.substr(slash + 1))};
  }

  FileId make(Row row, std::string_view path, std::uint32_t mode) {
    const faultinject::NameRef name = name_of(path);
    TraceEvent& event = add(row, ++last_file_);
    event.created = true;
    event.mode = mode;
    event.name = name;
    files_[event.file].mode = mode;
    files_.at(name.directory).entries[name.name] = event.file;
    return event.file;
  }

  void remove(Row row, std::string_view path) {
    TraceEvent& event = add(row, file(path));
    event.name = name_of(path);
    files_.at(event.name.directory).entries.erase(event.name.name);
  }

  void put(TraceEvent& event, std::uint64_t offset, std::string_view text, WriteSync sync) {
    std::string& content = files_.at(event.file).content;
    if (offset + text.size() > content.size()) content.resize(offset + text.size());
    content.replace(offset, text.size(), text);
    event.sync = sync;
    event.offset = offset;
    event.length = text.size();
    event.result = static_cast<std::int64_t>(text.size());
    event.data = trace_.add_data(text);
  }

  /// What can be reached from the root.
  faultinject::Snapshot snapshot() {
    std::map<FileId, bool> reached{{kRootFile, true}};
    std::vector<FileId> left{kRootFile};
    while (!left.empty()) {
      const FileId id = left.back();
      left.pop_back();
      for (const auto& [name, child] : files_.at(id).entries) {
        if (reached.emplace(child, true).second) left.push_back(child);
      }
    }
    faultinject::Snapshot result;
    for (const auto& [id, unused] : reached) {
      const File& file = files_.at(id);
      faultinject::SnapshotFile& entry = result.files.emplace_back();
      entry.id = id;
      entry.mode = file.mode;
      entry.uid = file.uid;
      entry.gid = file.gid;
      entry.size = file.content.size();
      if (!file.content.empty()) entry.extents.push_back({0, trace_.add_data(file.content)});
      entry.target = file.target;
      entry.attributes = file.attributes;
      entry.entries = file.entries;
    }
    return result;
  }

  Trace trace_;
  std::map<FileId, File> files_;
  FileId last_file_ = kRootFile;
  std::uint64_t stamp_ = 0;
};

}  // namespace crashgate::harness
