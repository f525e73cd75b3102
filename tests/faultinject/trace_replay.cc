#include "tests/faultinject/trace_replay.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <map>
#include <set>

#include "faultinject/trace_defect.h"

namespace crashgate::faultinject {
namespace {

struct File {
  std::uint32_t mode = 0, uid = 0, gid = 0;
  std::string content, target;
  std::map<std::string, std::string> attributes;
  std::map<std::string, FileId> entries;
};
using Tree = std::map<FileId, File>;

Tree tree_of(const Trace& trace, const Snapshot& snapshot) {
  Tree tree;
  for (const SnapshotFile& each : snapshot.files) {
    File& file = tree[each.id];
    file.mode = each.mode;
    file.uid = each.uid;
    file.gid = each.gid;
    file.content.resize(each.size);
    for (const Extent& extent : each.extents) {
      file.content.replace(extent.offset, extent.data.length, trace.data(extent.data));
    }
    file.target = each.target;
    file.attributes = each.attributes;
    file.entries = each.entries;
  }
  return tree;
}

void write_at(File& file, std::uint64_t offset, std::string_view data) {
  if (data.empty()) return;
  if (file.content.size() < offset + data.size()) file.content.resize(offset + data.size());
  file.content.replace(offset, data.size(), data);
}

void allocate(File& file, const TraceEvent& event) {
  const std::uint64_t end = event.offset + event.length;
  if (event.flags & FALLOC_FL_COLLAPSE_RANGE) {
    file.content.erase(event.offset, event.length);
  } else if (event.flags & FALLOC_FL_INSERT_RANGE) {
    file.content.insert(event.offset, event.length, '\0');
  } else {
    if ((event.flags & FALLOC_FL_KEEP_SIZE) == 0 && file.content.size() < end) {
      file.content.resize(end);
    }
    const bool zeroes = (event.flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
    for (std::uint64_t i = event.offset; zeroes && i < end && i < file.content.size(); ++i) {
      file.content[i] = '\0';
    }
  }
}

void set_entry(Tree& tree, const NameRef& name, FileId file) {
  if (name.directory == kNoFile) return;
  auto& entries = tree[name.directory].entries;
  if (file == kNoFile) {
    entries.erase(name.name);
  } else {
    entries[name.name] = file;
  }
}

void make(Tree& tree, const TraceEvent& event) {
  File& file = tree[event.file];
  file = {};
  file.mode = event.mode;
  file.uid = event.uid;
  file.gid = event.gid;
  file.target = event.text;
  set_entry(tree, event.name, event.file);
}

void apply_name(Tree& tree, const TraceEvent& event) {
  if (event.created) {
    make(tree, event);
  } else if (event.row == Row::k_link || event.row == Row::k_linkat) {
    set_entry(tree, event.name2, event.file);
  } else if (find_role(row_info(event.row), Role::kPath2) < kMaxArguments) {
    const bool exchange = (event.flags & RENAME_EXCHANGE) != 0;
    set_entry(tree, event.name, exchange ? event.replaced : kNoFile);
    set_entry(tree, event.name2, event.file);
  } else {
    set_entry(tree, event.name, kNoFile);
  }
}

void apply(const Trace& trace, const TraceEvent& event, Tree& tree) {
  if (event.kind != EventKind::kStorage || event.result < 0) return;
  const RowInfo& row = row_info(event.row);
  switch (row.kind) {
    case Kind::kOpen:
      if (event.created) make(tree, event);
      if (event.truncated) tree[event.file].content.clear();
      break;
    case Kind::kWrite:
    case Kind::kAsync:
    case Kind::kCopy:
      write_at(tree[event.file], event.offset, trace.data(event.data));
      break;
    case Kind::kBarrier:
      if (event.row == Row::k_msync) {
        write_at(tree[event.file], event.offset, trace.data(event.data));
      }
      break;
    case Kind::kResize:
      if (event.row == Row::k_fallocate) {
        allocate(tree[event.file], event);
      } else {
        tree[event.file].content.resize(event.length);
      }
      break;
    case Kind::kName:
      apply_name(tree, event);
      break;
    case Kind::kAttribute: {
      File& file = tree[event.file];
      file.mode = event.mode;
      file.uid = event.uid;
      file.gid = event.gid;
      if (find_role(row, Role::kText) == kMaxArguments) break;
      file.attributes.erase(event.text);
      if (find_role(row, Role::kSize) < kMaxArguments) {
        file.attributes[event.text] = std::string(trace.data(event.data));
      }
      break;
    }
    default:
      break;
  }
}

std::string difference(const Tree& predicted, const Tree& found, FileId id, const std::string& path,
                       std::set<FileId>& seen) {
  if (!seen.insert(id).second) return "";
  const auto a = predicted.find(id), b = found.find(id);
  if (a == predicted.end() || b == found.end()) return path + ": file " + std::to_string(id);
  const File &one = a->second, &other = b->second;
  const auto differs = [&](const char* what) { return path + ": " + what; };
  if (one.mode != other.mode) return differs("mode");
  if (one.uid != other.uid || one.gid != other.gid) return differs("owner");
  if (one.content.size() != other.content.size()) {
    return differs("size") + ": " + std::to_string(one.content.size()) + " predicted, " +
           std::to_string(other.content.size()) + " found";
  }
  if (one.content != other.content) return differs("content");
  if (one.target != other.target) return differs("target");
  if (one.attributes != other.attributes) return differs("attributes");
  if (one.entries != other.entries) {
    std::string names;
    for (const auto& [name, file] : one.entries) names += " " + name + "=" + std::to_string(file);
    names += " found:";
    for (const auto& [name, file] : other.entries) names += " " + name + "=" + std::to_string(file);
    return differs("entries: predicted:") + names;
  }
  for (const auto& [name, file] : one.entries) {
    std::string below = difference(predicted, found, file, path + "/" + name, seen);
    if (!below.empty()) return below;
  }
  return "";
}

}  // namespace

std::string prediction_error(const Trace& trace) {
  if (const std::string defect = defect_of(trace); !defect.empty()) return "defect: " + defect;
  Tree tree = tree_of(trace, trace.initial);
  for (const TraceEvent& event : trace.events) apply(trace, event, tree);
  std::set<FileId> seen;
  std::string error = difference(tree, tree_of(trace, trace.final), kRootFile, ".", seen);
  if (error.empty()) return "";
  error += "\n";
  for (std::size_t i = 0; i < trace.events.size(); ++i) error += describe_event(trace, i) + "\n";
  return error;
}

}  // namespace crashgate::faultinject
