// One event as a line for people. Names are those of the time of the event, found by following the
// names of the tree from the initial snapshot through the events before it.
#include <sys/stat.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

/// Which names each file has, and had last.
class EventDescriber::Names {
 public:
  explicit Names(const Snapshot& snapshot) {
    for (const SnapshotFile& directory : snapshot.files) {
      for (const auto& [name, file] : directory.entries) add({directory.id, name}, file);
    }
  }

  void apply(const TraceEvent& event) {
    if (event.kind != EventKind::kStorage || event.result < 0 || event.row == Row::kCount) return;
    const Kind kind = row_info(event.row).kind;
    if (kind == Kind::kOpen && event.created) add(event.name, event.file);
    if (kind != Kind::kName) return;
    switch (event.row) {
      case Row::k_link:
      case Row::k_linkat:
        add(event.name2, event.file);
        break;
      case Row::k_rename:
      case Row::k_renameat:
      case Row::k_renameat2: {
        constexpr std::uint64_t kExchange = 2;  // RENAME_EXCHANGE
        remove(event.name);
        remove(event.name2);
        add(event.name2, event.file);
        if (event.flags & kExchange) add(event.name, event.replaced);
        break;
      }
      case Row::k_unlink:
      case Row::k_unlinkat:
      case Row::k_rmdir:
        remove(event.name);
        break;
      default:
        add(event.name, event.file);
    }
  }

  std::string path(const NameRef& name) const {
    if (name.directory == kNoFile) return "(outside)";
    if (name.directory == kRootFile) return name.name;
    return path(name.directory, kDeepest) + "/" + name.name;
  }
  std::string path(FileId file) const { return path(file, kDeepest); }

 private:
  using Entry = std::pair<FileId, std::string>;
  struct FileNames {
    std::set<Entry> present;
    Entry last;
  };
  static constexpr int kDeepest = 4096;  // a damaged trace may hold a circle

  std::string path(FileId file, int depth) const {
    if (file == kRootFile) return ".";
    const auto found = files_.find(file);
    if (found == files_.end() || depth == 0) return "(file " + std::to_string(file) + ")";
    const auto& [directory, name] = found->second.last;
    std::string text = directory == kRootFile ? name : path(directory, depth - 1) + "/" + name;
    if (!found->second.present.contains(found->second.last)) text += " (unlinked)";
    return text;
  }
  void add(const NameRef& name, FileId file) {
    if (name.directory == kNoFile) return;
    const Entry entry{name.directory, name.name};
    const auto [holder, is_new] = entries_.try_emplace(entry, file);
    if (!is_new && holder->second != file) {
      files_[holder->second].present.erase(entry);
      holder->second = file;
    }
    files_[file].present.insert(entry);
    files_[file].last = entry;
  }
  void remove(const NameRef& name) {
    const auto entry = entries_.find({name.directory, name.name});
    if (entry == entries_.end()) return;
    FileNames& names = files_[entry->second];
    names.present.erase(entry->first);
    entries_.erase(entry);
    // Another hard link is a better name than one that is gone.
    if (!names.present.empty()) names.last = *names.present.begin();
  }

  std::map<Entry, FileId> entries_;
  std::map<FileId, FileNames> files_;
};

namespace {

std::string quoted(std::string_view text, std::size_t most = SIZE_MAX) {
  std::string result = "\"";
  for (char c : text.substr(0, most)) {
    constexpr char kDigits[] = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (c == '\n') {
      result += "\\n";
    } else if (byte < ' ' || byte == 0x7f) {
      result += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      result += c;
    }
  }
  return result + (text.size() > most ? "\"..." : "\"");
}

std::string octal(std::uint32_t mode) {
  std::string text;
  for (; mode != 0; mode >>= 3) text.insert(text.begin(), static_cast<char>('0' + (mode & 7)));
  return "0" + text;
}

std::string bytes_at(std::uint64_t count, std::uint64_t offset) {
  return " " + std::to_string(count) + " bytes at " + std::to_string(offset);
}

template <typename Names>
std::string storage_text(const TraceEvent& event, const Names& names) {
  const std::string file = quoted(names.path(event.file));
  switch (row_info(event.row).kind) {
    case Kind::kOpen:
      return (event.name.name.empty() ? std::string("(no name)") : quoted(names.path(event.name))) +
             (event.created ? " creates" : "") + (event.truncated ? " truncates" : "");
    case Kind::kWrite:
    case Kind::kAsync:
    case Kind::kCopy: {
      std::string text = file + bytes_at(event.data.length, event.offset);
      if (event.source != kNoFile) text += " from " + quoted(names.path(event.source));
      if (event.sync == WriteSync::kData) text += " O_DSYNC";
      if (event.sync == WriteSync::kFile) text += " O_SYNC";
      return text;
    }
    case Kind::kResize:
      if (event.row != Row::k_fallocate) return file + " to " + std::to_string(event.length);
      return file + " mode " + std::to_string(event.flags) + bytes_at(event.length, event.offset);
    case Kind::kBarrier:
      if (event.file == kNoFile) return "";
      if (event.row == Row::k_msync) return file + bytes_at(event.data.length, event.offset);
      return event.text.empty() ? file : file + " by " + event.text;
    case Kind::kHint:
      return file + bytes_at(event.length, event.offset);
    case Kind::kName: {
      std::string text =
          event.name.name.empty() ? std::string("(no name)") : quoted(names.path(event.name));
      if (!event.name2.name.empty() || find_role(row_info(event.row), Role::kPath2) < kMaxArguments)
        text += " -> " + quoted(names.path(event.name2));
      if (!event.text.empty()) text += " to " + quoted(event.text);
      return text;
    }
    default: {
      const std::size_t attribute = find_role(row_info(event.row), Role::kText);
      if (attribute < kMaxArguments) return file + " " + event.text;
      if (find_role(row_info(event.row), Role::kMode) < kMaxArguments)
        return file + " " + octal(event.mode & ~static_cast<std::uint32_t>(S_IFMT));
      return file + " " + std::to_string(event.uid) + ":" + std::to_string(event.gid);
    }
  }
}

}  // namespace

EventDescriber::EventDescriber(const Trace& trace) : trace_(trace) {}
EventDescriber::~EventDescriber() = default;

const EventDescriber::Names& EventDescriber::names_at(std::size_t index) {
  // A file's own creation names it; a name that goes is still there.
  const std::size_t wanted = index + (trace_.events[index].created ? 1 : 0);
  if (!names_ || wanted < applied_) {
    names_ = std::make_unique<Names>(trace_.initial);
    applied_ = 0;
  }
  for (; applied_ < wanted; ++applied_) names_->apply(trace_.events[applied_]);
  return *names_;
}

std::string EventDescriber::path(std::size_t index) {
  const TraceEvent& event = trace_.events[index];
  const Names& names = names_at(index);
  if (!event.name2.name.empty()) return names.path(event.name2);
  if (!event.name.name.empty()) return names.path(event.name);
  return event.file == kNoFile ? "" : names.path(event.file);
}

std::string EventDescriber::describe(std::size_t index) {
  constexpr std::size_t kQuotedBytes = 40;
  const TraceEvent& event = trace_.events[index];
  const Names& names = names_at(index);

  std::string line = std::to_string(index) + "  " + std::to_string(event.process) + "/" +
                     std::to_string(event.thread) + "  ";
  const std::string call = event.row == Row::kCount ? "" : row_info(event.row).name;
  switch (event.kind) {
    case EventKind::kAcknowledgement:
      line += (call.empty() ? "acknowledge" : call) + " told " +
              quoted(trace_.data(event.data), kQuotedBytes);
      break;
    case EventKind::kUnmodelled:
      return line + (call.empty() ? "" : call + " ") + "not modelled: " + event.text;
    case EventKind::kStorage: {
      const std::string text = storage_text(event, names);
      line += text.empty() ? call : call + " " + text;
    }
  }
  if (event.end == 0) return line + " = ?";
  line += " = " + std::to_string(event.result);
  if (event.result < 0) {
    const char* name = strerrorname_np(static_cast<int>(-event.result));
    if (name != nullptr) line += std::string(" ") + name;
  }
  return line;
}

std::string describe_event(const Trace& trace, std::size_t index) {
  return EventDescriber(trace).describe(index);
}

std::string event_path(const Trace& trace, std::size_t index) {
  return EventDescriber(trace).path(index);
}

}  // namespace crashgate::faultinject
