#include "faultinject/trace_defect.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace crashgate::faultinject {
namespace {

constexpr std::uint64_t kLargestFile = INT64_MAX;
constexpr std::int64_t kLargestErrno = 4095;  // MAX_ERRNO of the kernel
constexpr std::size_t kDeepest = 4096;        // directories: as deep as a path can be
/// What a recorder numbered and did not write down: a socket, a call that changed nothing.
constexpr std::uint64_t kUnusedNumbers = 65536;

bool is_name(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && text.find('/') == text.npos &&
         text.find('\0') == text.npos;
}

bool is_file_type(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      return true;
    default:
      return false;
  }
}

bool fits_a_file(std::uint64_t offset, std::uint64_t length) {
  return offset <= kLargestFile && length <= kLargestFile - offset;
}

bool moves(Row row) {  // or links
  return find_role(row_info(row), Role::kPath2) < kMaxArguments;
}
bool removes(Row row) {
  return row == Row::k_unlink || row == Row::k_unlinkat || row == Row::k_rmdir;
}

class Inspection {
 public:
  explicit Inspection(const Trace& trace) : trace_(trace) {
    largest_id_ = std::uint64_t{trace.initial.files.size()} + trace.final.files.size() +
                  4 * std::uint64_t{trace.events.size()} + kUnusedNumbers;
  }

  std::string run() {
    if (const std::string defect = of_snapshot(trace_.initial); !defect.empty()) {
      return "the tree before: " + defect;
    }
    for (const SnapshotFile& file : trace_.initial.files) types_[file.id] = file.mode & S_IFMT;
    for (std::size_t index = 0; index < trace_.events.size(); ++index) {
      if (const std::string defect = of_event(trace_.events[index]); !defect.empty()) {
        return "event " + std::to_string(index) + ": " + defect;
      }
    }
    if (const std::string defect = of_snapshot(trace_.final); !defect.empty()) {
      return "the tree after: " + defect;
    }
    return "";
  }

 private:
  bool holds(const DataRef& data) const {
    return data.position <= trace_.bytes.size() &&
           data.length <= trace_.bytes.size() - data.position;
  }

  // -- Snapshots --------------------------------------------------------------------------------

  std::string of_snapshot(const Snapshot& snapshot) const {
    if (snapshot.files.empty() || snapshot.files.front().id != kRootFile ||
        !S_ISDIR(snapshot.files.front().mode)) {
      return "it has no root";
    }
    std::unordered_map<FileId, const SnapshotFile*> files;
    for (const SnapshotFile& file : snapshot.files) {
      const std::string name = "file " + std::to_string(file.id);
      if (file.id == kNoFile || file.id > largest_id_) return name + " cannot have that number";
      if (!files.try_emplace(file.id, &file).second) return name + " is there twice";
      if (const std::string defect = of_snapshot_file(file); !defect.empty()) {
        return name + ": " + defect;
      }
    }
    return of_entries(files);
  }

  std::string of_snapshot_file(const SnapshotFile& file) const {
    if (!is_file_type(file.mode)) return "no type of file";
    if (file.size > kLargestFile) return "larger than a file can be";
    if (!S_ISREG(file.mode) && !file.extents.empty()) return "content of what is no regular file";
    if (!S_ISDIR(file.mode) && !file.entries.empty()) return "entries of what is no directory";
    if (file.target.find('\0') != file.target.npos) return "its target holds a zero byte";
    std::uint64_t end = 0;
    for (const Extent& extent : file.extents) {
      if (!holds(extent.data)) return "data that is not in the trace";
      if (extent.offset < end || !fits_a_file(extent.offset, extent.data.length)) {
        return "extents that overlap or end beyond all files";
      }
      end = extent.offset + extent.data.length;
    }
    return "";
  }

  /// From the root down: every file has a name, and a directory one alone, so there is no circle.
  std::string of_entries(const std::unordered_map<FileId, const SnapshotFile*>& files) const {
    std::unordered_set<FileId> reached{kRootFile};
    std::vector<const SnapshotFile*> level{files.at(kRootFile)};
    for (std::size_t depth = 0; !level.empty(); ++depth) {
      if (depth == kDeepest) return "directories nested too deep";
      std::vector<const SnapshotFile*> below;
      for (const SnapshotFile* directory : level) {
        for (const auto& [name, id] : directory->entries) {
          if (!is_name(name)) return "an entry's name cannot be one";
          const auto file = files.find(id);
          if (file == files.end()) return "entry \"" + name + "\" names no file";
          const bool is_new = reached.insert(id).second;
          if (!S_ISDIR(file->second->mode)) continue;
          if (!is_new) return "directory \"" + name + "\" has two names";
          below.push_back(file->second);
        }
      }
      level = std::move(below);
    }
    return reached.size() == files.size() ? "" : "a file without a name";
  }

  // -- Events -----------------------------------------------------------------------------------

  std::string of_event(const TraceEvent& event) {
    if (event.kind > EventKind::kUnmodelled || event.sync > WriteSync::kFile) {
      return "no kind of event";
    }
    for (const FileId id :
         {event.file, event.source, event.replaced, event.name.directory, event.name2.directory}) {
      if (id > largest_id_) return "file " + std::to_string(id) + " cannot have that number";
    }
    if (event.result < -kLargestErrno) return "a result that no call has";
    if (!holds(event.data)) return "data that is not in the trace";
    return event.kind == EventKind::kStorage ? of_storage(event) : "";
  }

  std::string of_storage(const TraceEvent& event) {
    if (event.row == Row::kCount) return "a storage call that is none";
    const Kind kind = row_info(event.row).kind;
    for (const NameRef* name : {&event.name, &event.name2}) {
      if (name->directory == kNoFile) continue;
      if (!is_name(name->name)) return "a name that cannot be one";
      const auto type = types_.find(name->directory);
      if (type != types_.end() && type->second != S_IFDIR) return "a name in what is no directory";
    }
    const bool needs_file = event.created || event.truncated || kind == Kind::kResize ||
                            kind == Kind::kAttribute || gives_name(event);
    if (needs_file && event.file == kNoFile) return "the file is missing";
    if (gives_name(event) && event.file == kRootFile) return "a name of the root";
    // Of what is only advice, any range will do.
    const std::uint64_t length = kind == Kind::kResize ? event.length : event.data.length;
    if (kind != Kind::kHint && !fits_a_file(event.offset, length)) return "beyond all files";
    if (event.truncated && kind != Kind::kOpen) return "truncated by what opens nothing";
    if (event.created) return of_creation(event, kind);
    return kind == Kind::kAttribute ? of_attribute(event) : "";
  }

  static bool gives_name(const TraceEvent& event) {
    return row_info(event.row).kind == Kind::kName && !removes(event.row);
  }

  std::string of_creation(const TraceEvent& event, Kind kind) {
    if ((kind != Kind::kOpen && kind != Kind::kName) || moves(event.row) || removes(event.row)) {
      return "created by what makes nothing";
    }
    if (!is_file_type(event.mode)) return "no type of file";
    if (event.text.find('\0') != event.text.npos) return "its target holds a zero byte";
    // Twice: where the process of the first time died in the call.
    const auto type = types_.try_emplace(event.file, event.mode & S_IFMT).first;
    return type->second == (event.mode & S_IFMT) ? "" : "it makes a file that there was";
  }

  std::string of_attribute(const TraceEvent& event) const {
    const auto type = types_.find(event.file);
    const bool sets_mode = find_role(row_info(event.row), Role::kMode) < kMaxArguments;
    return !sets_mode || type == types_.end() || type->second == (event.mode & S_IFMT)
               ? ""
               : "it changes the type of a file";
  }

  const Trace& trace_;
  std::uint64_t largest_id_;
  std::unordered_map<FileId, std::uint32_t> types_;  // of the files whose making is known
};

}  // namespace

std::string defect_of(const Trace& trace) {
  return Inspection(trace).run();
}

}  // namespace crashgate::faultinject
