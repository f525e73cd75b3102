// Records come in order of effect, so which inode is which file at a record is known from the
// records before it: a record that makes a file gives its inode number a new FileId, or, where it
// makes it outside the tree, takes the number's FileId away.
//
// A record that was begun and not finished is one in which its process died. Whether it did what it
// was about to is decided by the final tree.
#include "faultinject/recording_reader.h"

#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace crashgate::faultinject {
namespace {

constexpr std::uint64_t kExchange = 2;  // RENAME_EXCHANGE

class RecordingReader {
 public:
  RecordingReader(const RecordingLog& log, RecordingStart start, const IgnoredPaths& ignored)
      : log_(log),
        ignored_(ignored),
        trace_(std::move(start.trace)),
        real_directory_(std::move(start.real_directory)),
        numbering_(std::move(start.numbering)) {
    for (const SnapshotFile& directory : trace_.initial.files) {
      for (const auto& [name, id] : directory.entries) places_[id] = {directory.id, name};
    }
  }

  tl::expected<ReadRecording, TraceError> read() {
    for (const RawRecord* record = next_record(log_); record != nullptr;
         record = next_record(log_, record)) {
      read_record(*record);
    }
    auto final = read_tree(real_directory_, ignored_, numbering_, trace_.bytes);
    if (!final) return tl::unexpected(final.error());
    trace_.final = std::move(*final);
    settle_unfinished();
    if (log_.abandoned != 0) {
      trace_.blind_spots.push_back(
          "a process was stopped in the middle of a call, and the others went on unrecorded");
    } else if (log_.full != 0) {
      trace_.blind_spots.push_back("the recording did not fit into its log");
    }
    return ReadRecording{std::move(trace_), std::move(outside_)};
  }

 private:
  struct stat inode(std::uint64_t number) const {
    struct stat status {};
    status.st_dev = log_.device;
    status.st_ino = number;
    return status;
  }
  FileId find(std::uint64_t number) const {
    return number == 0 ? kNoFile : numbering_.find(inode(number));
  }

  /// Of an entry; kNoFile: outside the tree, or the entry is ignored.
  FileId directory_of(std::uint64_t number, std::string_view name) const {
    const FileId directory = find(number);
    if (directory == kNoFile || ignored_.empty() || name.empty()) return directory;
    std::string path(name);
    for (FileId at = directory; at != kRootFile;) {
      const auto place = places_.find(at);
      if (place == places_.end()) break;
      path = place->second.name + "/" + path;
      at = place->second.directory;
    }
    return ignored_.contains(path) ? kNoFile : directory;
  }

  void read_record(const RawRecord& record) {
    TraceEvent event;
    event.kind = record.kind;
    event.row = record.row;
    event.sync = record.sync;
    event.begin = record.begin;
    event.end = record.end;
    event.result = record.result;
    event.disk_stamp = record.disk_stamp;
    event.flags = record.flags;
    event.offset = record.offset;
    event.length = record.length;
    event.mode = record.mode;
    event.uid = record.uid;
    event.gid = record.gid;
    if (!(record.kind == EventKind::kStorage ? read_storage(record, event)
                                             : read_other(record, event))) {
      return;
    }
    event.process = number(processes_, record.process);
    event.thread = number(threads_, record.thread);
    // Of an opening the data is its path, which is for the reader only.
    const bool has_data =
        record.kind == EventKind::kAcknowledgement || row_info(record.row).kind != Kind::kOpen;
    if (has_data && record.data_size > 0) event.data = trace_.add_data(data_of(record));
    if (record.state == RecordState::kBegun) unfinished_.push_back(trace_.events.size());
    trace_.events.push_back(std::move(event));
  }

  /// False: not of the tree. So below.
  bool read_other(const RawRecord& record, TraceEvent& event) {
    event.text = text_of(record);
    if (record.kind == EventKind::kAcknowledgement) return true;
    if (event.text.empty()) event.text = "a change of a file that could not be read back";
    event.file = find(record.file);
    if (event.file == kNoFile) return false;
    return record.row != Row::k_mmap || mapped_writable_.insert(event.file).second;
  }

  bool read_storage(const RawRecord& record, TraceEvent& event) {
    switch (row_info(record.row).kind) {
      case Kind::kOpen:
        return read_open(record, event);
      case Kind::kName:
        return read_name(record, event);
      case Kind::kBarrier:
        event.file = find(record.file);
        return record.file == 0 || event.file != kNoFile;
      case Kind::kCopy:
        event.source = find(record.source);
        [[fallthrough]];
      default:
        event.text = text_of(record);
        event.file = find(record.file);
        return event.file != kNoFile;
    }
  }

  bool read_open(const RawRecord& record, TraceEvent& event) {
    const FileId directory = directory_of(record.directory, name_of(record));
    event.created = record.created;
    event.truncated = record.truncated;
    if (!name_of(record).empty() && directory != kNoFile) {
      event.name = {directory, std::string(name_of(record))};
    }
    if (record.created) {
      event.file = make(record, directory);
      if (directory == kNoFile) note_written_outside(data_of(record));
      return directory != kNoFile;
    }
    event.file = find(record.file);
    if (event.file != kNoFile) return record.truncated;
    const std::string path = relative_path(data_of(record));
    if (path.empty() || ignored_.contains(path)) {
      note_written_outside(data_of(record));
      return false;
    }
    event.file = numbering_.number(inode(record.file));
    return unmodelled(event, made_unseen(path));
  }

  /// In the tree; else empty.
  std::string relative_path(std::string_view path) const {
    if (!path.starts_with(real_directory_ + "/")) return {};
    return std::string(path.substr(real_directory_.size() + 1));
  }

  void note_written_outside(std::string_view path) {
    constexpr std::size_t kMost = 48;
    if (path.empty() || path.starts_with("/proc/") || path.starts_with("/sys/") ||
        !relative_path(path).empty()) {
      return;
    }
    if (outside_.paths.size() < kMost || outside_.paths.contains(std::string(path))) {
      outside_.paths.insert(std::string(path));
    } else {
      outside_.more = true;
    }
  }

  /// A new file, in the tree or outside.
  FileId make(const RawRecord& record, FileId directory) {
    if (record.file == 0) return kNoFile;
    if (directory != kNoFile) return numbering_.made(inode(record.file));
    numbering_.forget(inode(record.file));
    return kNoFile;
  }

  bool read_name(const RawRecord& record, TraceEvent& event) {
    const FileId directory = directory_of(record.directory, name_of(record));
    const FileId directory2 = directory_of(record.directory2, name2_of(record));
    event.name = {directory, std::string(directory == kNoFile ? "" : name_of(record))};
    event.name2 = {directory2, std::string(directory2 == kNoFile ? "" : name2_of(record))};
    event.text = text_of(record);
    event.replaced = find(record.replaced);
    event.created = record.created;
    if (record.created) {
      event.file = make(record, directory);
      places_[event.file] = event.name;
      return directory != kNoFile;
    }
    event.mode = 0;
    event.file = find(record.file);
    if (event.file == kRootFile) {
      return unmodelled(event, "the recorded directory itself was moved or removed");
    }
    if (directory == kNoFile && directory2 == kNoFile) return false;
    const bool two_names = find_role(row_info(record.row), Role::kPath2) < kMaxArguments;
    if (S_ISSOCK(record.mode) && record.replaced == 0) return false;
    if (!two_names) {
      return event.file != kNoFile || unmodelled(event, made_unseen(event.name.name));
    }
    const bool links = record.row == Row::k_link || record.row == Row::k_linkat;
    if (links && directory2 == kNoFile) return false;
    if (event.file == kNoFile) {
      if (directory2 == kNoFile) return unmodelled(event, made_unseen(event.name.name));
      event.file = numbering_.number(inode(record.file));
      return unmodelled(event, came_in(event.name2, links));
    }
    if (links) return true;
    if (directory != kNoFile && directory2 != kNoFile) {
      places_[event.file] = event.name2;
      if ((record.flags & kExchange) != 0) places_[event.replaced] = event.name;
      return true;
    }
    if ((record.flags & kExchange) != 0 || S_ISDIR(record.mode)) {
      return unmodelled(
          event, "\"" + std::string(name_of(record)) + "\" was moved into or out of the tree");
    }
    return true;
  }

  static bool unmodelled(TraceEvent& event, std::string text) {
    event.kind = EventKind::kUnmodelled;
    event.text = std::move(text);
    return true;
  }
  static std::string made_unseen(const std::string& name) {
    return "\"" + name + "\" was made unseen: by stdio, or by a process that is not recorded";
  }
  /// As the other recorder says it.
  static std::string came_in(const NameRef& name, bool linked) {
    return "\"" + name.name + "\"" +
           (linked ? ", a link to a file outside the tree or ignored"
                   : " was moved into the tree, from outside or ignored");
  }

  static std::uint32_t number(std::unordered_map<std::uint32_t, std::uint32_t>& numbers,
                              std::uint32_t logged) {
    return numbers.try_emplace(logged, static_cast<std::uint32_t>(numbers.size())).first->second;
  }

  // -- Calls in which a process died ------------------------------------------------------------

  const SnapshotFile* final_file(FileId id) const {
    const auto found = std::ranges::find(trace_.final.files, id, &SnapshotFile::id);
    return found == trace_.final.files.end() ? nullptr : &*found;
  }
  FileId final_entry(const NameRef& name) const {
    const SnapshotFile* directory = final_file(name.directory);
    if (directory == nullptr) return kNoFile;
    const auto entry = directory->entries.find(name.name);
    return entry == directory->entries.end() ? kNoFile : entry->second;
  }

  void settle_unfinished() {
    for (auto index = unfinished_.rbegin(); index != unfinished_.rend(); ++index) {
      if (!settle(trace_.events[*index])) {
        trace_.events.erase(trace_.events.begin() + static_cast<std::ptrdiff_t>(*index));
      }
    }
  }

  /// Whether the event happened, wholly or in part; completes it by what the final tree shows.
  bool settle(TraceEvent& event) {
    const Kind kind = row_info(event.row).kind;
    if (event.created || kind == Kind::kAttribute) {
      if (event.created) event.file = final_entry(event.name);
      const SnapshotFile* file = final_file(event.file);
      if (file == nullptr) return false;
      event.mode = file->mode;
      event.uid = file->uid;
      event.gid = file->gid;
      return true;
    }
    if (kind == Kind::kName) {
      if (event.name2.directory != kNoFile) return final_entry(event.name2) == event.file;
      return final_entry(event.name) != event.file;
    }
    return kind != Kind::kWrite || settle_write(event);
  }

  bool settle_write(TraceEvent& event) {
    const SnapshotFile* file = final_file(event.file);
    if (file == nullptr) {
      trace_.blind_spots.push_back("a process died in a write to a file that was gone later");
      return false;
    }
    const std::uint64_t size = file->size;
    const std::uint64_t wanted = event.length == 0 ? size : event.offset + event.length;
    std::string bytes(std::min(size, wanted) - std::min(size, event.offset), '\0');
    for (const Extent& extent : file->extents) {
      const std::uint64_t from = std::max(extent.offset, event.offset);
      const std::uint64_t to =
          std::min(extent.offset + extent.data.length, event.offset + bytes.size());
      if (from >= to) continue;
      bytes.replace(from - event.offset, to - from,
                    trace_.data(extent.data).substr(from - extent.offset, to - from));
    }
    event.length = 0;
    event.result = static_cast<std::int64_t>(bytes.size());
    event.data = trace_.add_data(bytes);
    return !bytes.empty();
  }

  const RecordingLog& log_;
  const IgnoredPaths& ignored_;
  Trace trace_;
  std::string real_directory_;
  FileNumbering numbering_;
  std::unordered_map<std::uint32_t, std::uint32_t> processes_;
  std::unordered_map<std::uint32_t, std::uint32_t> threads_;
  std::unordered_map<FileId, NameRef> places_;  // where directories are, or were last
  WrittenOutside outside_;
  std::set<FileId> mapped_writable_;  // said once a file
  std::vector<std::size_t> unfinished_;
};

}  // namespace

tl::expected<RecordingStart, TraceError> start_trace(const std::string& directory,
                                                     const IgnoredPaths& ignored) {
  RecordingStart start;
  start.trace.recorder = "preload";
  start.trace.directory = directory;
  utsname system;
  if (uname(&system) == 0) start.trace.kernel = system.release;
  const std::unique_ptr<char, void (*)(void*)> real(realpath(directory.c_str(), nullptr), free);
  if (!directory.starts_with("/") || !real) {
    return tl::unexpected(TraceError{directory + ": not the absolute path of a directory", true});
  }
  start.real_directory = real.get();
  auto initial = read_tree(start.real_directory, ignored, start.numbering, start.trace.bytes);
  if (!initial) return tl::unexpected(initial.error());
  start.trace.initial = std::move(*initial);
  return start;
}

tl::expected<ReadRecording, TraceError> read_recording(const RecordingLog& log,
                                                       RecordingStart start,
                                                       const IgnoredPaths& ignored) {
  return RecordingReader(log, std::move(start), ignored).read();
}

}  // namespace crashgate::faultinject
