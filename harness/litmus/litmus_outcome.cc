#include "harness/litmus/litmus_outcome.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <string_view>

namespace crashgate::harness {
namespace {

std::string bytes_of(const TreeFile& file) {
  std::string bytes(file.size, '\0');
  for (const auto& piece : file.content)
    bytes.replace(piece.offset, piece.bytes.size(), piece.bytes);
  return bytes;
}

bool is_regular(const TreeFile* file) {
  return file != nullptr && S_ISREG(file->mode);
}

// What the bytes are that are neither all old nor all new.
std::string describe_parts(const std::string& old_bytes, const std::string& new_bytes,
                           const std::string& bytes) {
  bool has_old = false, has_new = false, has_zeros = false, has_other = false;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const bool is_old = at < old_bytes.size() && bytes[at] == old_bytes[at];
    const bool is_new = at < new_bytes.size() && bytes[at] == new_bytes[at];
    if (is_old && is_new && bytes[at] != '\0')
      has_old = true;  // what an append leaves alone
    else if (is_new)
      has_new = true;
    else if (is_old)
      has_old = true;
    else if (bytes[at] == '\0')
      has_zeros = true;
    else
      has_other = true;
  }
  std::string text;
  const auto add = [&](bool has, std::string_view what) {
    if (has) text += (text.empty() ? "" : " and ") + std::string(what);
  };
  add(has_old, "old");
  add(has_new, "new");
  add(has_zeros, "zeros");
  add(has_other, "other bytes");
  return text;
}

std::string describe_content(const TreeFile* before, const TreeFile* after, const TreeFile& found) {
  const std::string bytes = bytes_of(found);
  const std::string old_bytes = is_regular(before) ? bytes_of(*before) : "";
  const std::string new_bytes = is_regular(after) ? bytes_of(*after) : "";
  if (is_regular(before) && is_regular(after) && old_bytes == new_bytes && bytes == old_bytes)
    return "there";
  if (is_regular(after) && bytes == new_bytes) return "new";
  if (is_regular(before) && bytes == old_bytes) return "old";
  if (bytes.empty()) return "empty";
  std::string text = describe_parts(old_bytes, new_bytes, bytes);
  if (bytes.size() < new_bytes.size()) text += ", short";
  return text;
}

std::string describe_change(std::string_view what, bool same_as_before, bool same_as_after) {
  if (same_as_before && same_as_after) return "";
  return fmt::format(", {} {}", same_as_after ? "new" : same_as_before ? "old" : "other", what);
}

std::string describe(const std::string& path, const DirectoryTree& before,
                     const DirectoryTree& after, const DirectoryTree& found) {
  const TreeFile* file = find_file(found, path);
  if (file == nullptr) return "absent";
  const TreeFile* old_file = find_file(before, path);
  const TreeFile* new_file = find_file(after, path);
  std::string text = S_ISREG(file->mode) ? describe_content(old_file, new_file, *file) : "there";
  if (old_file != nullptr && new_file != nullptr) {
    text += describe_change("mode", file->mode == old_file->mode, file->mode == new_file->mode);
    text += describe_change("attribute", file->attributes == old_file->attributes,
                            file->attributes == new_file->attributes);
  }
  return text;
}

using Lines = std::map<std::string, std::string>;

void add_lines(const DirectoryTree& tree, FileId id, const std::string& path, Lines& lines) {
  const auto found = tree.files.find(id);
  if (found == tree.files.end()) return;
  const TreeFile& file = found->second;
  std::string line =
      fmt::format("{:o} {}:{} {} {}", file.mode, file.uid, file.gid, file.size, file.target);
  for (const auto& [name, value] : file.attributes) line += name + value;
  lines[path] = line + bytes_of(file);
  for (const auto& [name, child] : file.entries) add_lines(tree, child, path + "/" + name, lines);
}

}  // namespace

const TreeFile* find_file(const DirectoryTree& tree, const std::string& path) {
  auto file = tree.files.find(tree.root);
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const auto entry = file->second.entries.find(path.substr(at, end - at));
    if (entry == file->second.entries.end()) return nullptr;
    file = tree.files.find(entry->second);
    if (file == tree.files.end()) return nullptr;
    at = end + 1;
  }
  return &file->second;
}

std::string litmus_outcome(const std::vector<std::string>& looks, const DirectoryTree& before,
                           const DirectoryTree& after, const DirectoryTree& found) {
  std::string text;
  for (const auto& path : looks) {
    if (!text.empty()) text += "; ";
    text += fmt::format("{} {}", path, describe(path, before, after, found));
  }
  return text;
}

std::size_t distance(const DirectoryTree& one, const DirectoryTree& other) {
  Lines lines, others;
  add_lines(one, one.root, "", lines);
  add_lines(other, other.root, "", others);
  std::size_t count = 0;
  for (const auto& [path, line] : lines) {
    const auto found = others.find(path);
    if (found == others.end() || found->second != line) ++count;
  }
  for (const auto& [path, line] : others) count += lines.contains(path) ? 0 : 1;
  return count;
}

}  // namespace crashgate::harness
