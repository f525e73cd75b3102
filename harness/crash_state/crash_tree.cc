// The hash is a Merkle tree of sums (tree_hash.h): where a file changes, its directories lose one
// term and gain another, up to the root. That happens only when the hash is asked for, and only for
// what can be reached from the root: a directory that has no name yet may even be below itself.
#include "harness/crash_state/crash_tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "harness/crash_state/tree_hash.h"

namespace crashgate::harness {

using faultinject::kNoFile;

CrashTree::CrashTree(const MicroOperations& micro_operations)
    : all_(micro_operations), tree_(all_.start) {
  nodes_.resize(all_.first_piece.size());
  places_.resize(all_.locations.size());
  for (auto& [id, file] : tree_.files) {
    Node& node = nodes_[id];
    node.file = &file;
    node.target = tree_hash::text(file.target);
    node.attributes = tree_hash::attributes(file);
    for (const ContentPiece& piece : file.content) {
      node.content = tree_hash::add_content(node.content, tree_hash::content(piece));
    }
    touch(id);
  }
  for (const auto& [id, file] : tree_.files) {
    for (const auto& [name, child] : file.entries) add_name(child, {id, tree_hash::text(name)});
  }
  for (std::uint32_t at = 0; at < places_.size(); ++at) {
    const Location& location = all_.locations[at];
    places_[at].value = &location.initial;
    if (location.kind == LocationKind::kData) places_[at].content = location.initial.number;
    if (location.kind == LocationKind::kEntry) places_[at].name = tree_hash::text(location.name);
  }
}

void CrashTree::reset() {
  for (std::uint32_t at = 0; at < places_.size(); ++at) {
    if (places_[at].value != &all_.locations[at].initial) set(at, all_.locations[at].initial);
  }
}

void CrashTree::set(std::uint32_t index, const LocationValue& value) {
  const Location& location = all_.locations[index];
  Node& node = nodes_[location.file];
  places_[index].value = &value;
  switch (location.kind) {
    case LocationKind::kData:
      show_content(index);
      break;
    case LocationKind::kSize:
      set_size(location.file, value.number);
      break;
    case LocationKind::kEntry:
      set_entry(index, value.first);
      break;
    case LocationKind::kMode:
      node.file->mode = static_cast<std::uint32_t>(value.number);
      break;
    case LocationKind::kOwner:
      node.file->uid = static_cast<std::uint32_t>(value.number >> 32);
      node.file->gid = static_cast<std::uint32_t>(value.number);
      break;
    case LocationKind::kExtendedAttribute:
      if (value.first == 0) {
        node.file->attributes.erase(std::string(location.name));
      } else {
        node.file->attributes[std::string(location.name)] = all_.texts[value.first - 1];
      }
      node.attributes = tree_hash::attributes(*node.file);
      break;
  }
  touch(location.file);
}

/// What a size hides or shows lies in data locations: only a truncation makes a file smaller, and
/// its zeros have locations.
void CrashTree::set_size(FileId id, std::uint64_t size) {
  TreeFile& file = *nodes_[id].file;
  const std::uint64_t low = std::min(file.size, size);
  const std::uint64_t high = std::max(file.size, size);
  file.size = size;
  const auto begin = all_.locations.begin() + all_.first_piece[id];
  const auto end = all_.locations.begin() + all_.first_piece[id + 1];
  auto piece = std::partition_point(
      begin, end, [low](const Location& location) { return location.end <= low; });
  for (; piece != end && piece->begin < high; ++piece) {
    show_content(static_cast<std::uint32_t>(piece - all_.locations.begin()));
  }
}

/// Puts into the file what the location holds, as far as the size lets it be seen.
void CrashTree::show_content(std::uint32_t index) {
  const Location& location = all_.locations[index];
  Place& place = places_[index];
  Node& node = nodes_[location.file];
  TreeFile& file = *node.file;

  scratch_.clear();
  bool whole = true;
  for (const ContentPiece& piece : all_.contents_of(*place.value)) {
    if (piece.offset + piece.bytes.size() <= file.size) {
      scratch_.push_back(piece);
      continue;
    }
    whole = false;
    if (piece.offset < file.size) {
      scratch_.push_back({piece.offset, piece.bytes.substr(0, file.size - piece.offset)});
    }
  }
  std::uint64_t term = place.value->number;
  if (!whole) {
    term = 0;
    for (const ContentPiece& piece : scratch_) {
      term = tree_hash::add_content(term, tree_hash::content(piece));
    }
  }
  node.content = tree_hash::subtract_content(node.content, place.content);
  node.content = tree_hash::add_content(node.content, term);
  place.content = term;

  const auto before = [](const ContentPiece& piece, std::uint64_t offset) {
    return piece.offset < offset;
  };
  const auto first =
      std::lower_bound(file.content.begin(), file.content.end(), location.begin, before);
  auto last = first;
  while (last != file.content.end() && last->offset < location.end) ++last;
  const std::size_t common = std::min<std::size_t>(scratch_.size(), last - first);
  const auto copied = std::copy_n(scratch_.begin(), common, first);
  if (common < scratch_.size()) {
    file.content.insert(copied, scratch_.begin() + static_cast<std::ptrdiff_t>(common),
                        scratch_.end());
  } else {
    file.content.erase(copied, last);
  }
}

void CrashTree::set_entry(std::uint32_t index, FileId target) {
  const Location& location = all_.locations[index];
  Place& place = places_[index];
  auto& entries = nodes_[location.file].file->entries;
  const Name name{location.file, place.name};
  if (!place.entry.empty()) {
    if (target == kNoFile) return;
    place.entry.mapped() = target;
    entries.insert(std::move(place.entry));
    add_name(target, name);
    return;
  }
  const auto [entry, is_new] = entries.try_emplace(std::string(location.name), target);
  if (!is_new) remove_name(entry->second, name);
  if (target == kNoFile) {
    place.entry = entries.extract(entry);
  } else {
    entry->second = target;
    add_name(target, name);
  }
}

void CrashTree::add_name(FileId child, const Name& name) {
  Node& node = nodes_[child];
  node.names.push_back(name);
  if (node.names.size() == 2) linked_.insert(child);
  nodes_[name.directory].entries += tree_hash::entry(name.name, node.hash);
  touch(name.directory);
  release(child);
}

void CrashTree::remove_name(FileId child, const Name& name) {
  Node& node = nodes_[child];
  node.names.erase(std::ranges::find(node.names, name));
  if (node.names.size() == 1) linked_.erase(child);
  nodes_[name.directory].entries -= tree_hash::entry(name.name, node.hash);
  touch(name.directory);
}

void CrashTree::touch(FileId id) {
  if (nodes_[id].state != HashState::kKnown) return;
  nodes_[id].state = HashState::kQueued;
  queue_.push_back(id);
}

/// It has got a name, and may now hang on the tree, with all below it that waits.
void CrashTree::release(FileId id) {
  Node& node = nodes_[id];
  if (node.state == HashState::kDetached) {
    node.state = HashState::kQueued;
    queue_.push_back(id);
  }
  for (const FileId child : std::exchange(node.waiting, {})) release(child);
}

bool CrashTree::is_attached(FileId id) const {
  std::uint64_t unused = 0;
  return id == tree_.root || std::ranges::any_of(nodes_[id].names, [&](const Name& name) {
           return path_hash(name, unused);
         });
}

/// False where the name cannot be reached from the root.
bool CrashTree::path_hash(const Name& name, std::uint64_t& hash, int depth) const {
  constexpr int kDeepest = 4096;  // a cycle, or more than any path can be
  if (name.directory == tree_.root) {
    hash = tree_hash::path(tree_hash::kRootPath, name.name);
    return true;
  }
  // A directory has one name.
  const std::vector<Name>& names = nodes_[name.directory].names;
  if (depth == kDeepest || names.empty() || !path_hash(names.front(), hash, depth + 1)) {
    return false;
  }
  hash = tree_hash::path(hash, name.name);
  return true;
}

std::uint64_t CrashTree::node_hash(const Node& node) const {
  return tree_hash::file(*node.file, node.target, node.attributes, node.content, node.entries);
}

std::uint64_t CrashTree::hash() {
  // Renames of which some came half may leave a directory both in the tree and below itself. Such a
  // hash never settles.
  std::size_t steps_left = 8 * nodes_.size() + 1000;
  while (!queue_.empty()) {
    if (steps_left-- == 0) return hash_of(tree_);
    const FileId id = queue_.back();
    queue_.pop_back();
    Node& node = nodes_[id];
    if (!is_attached(id)) {
      node.state = HashState::kDetached;
      for (const Name& name : node.names) {
        nodes_[name.directory].waiting.insert(id);
        touch(name.directory);
      }
      continue;
    }
    node.state = HashState::kKnown;
    const std::uint64_t hash = node_hash(node);
    if (hash == node.hash) continue;
    for (const Name& name : node.names) {
      Node& directory = nodes_[name.directory];
      directory.entries +=
          tree_hash::entry(name.name, hash) - tree_hash::entry(name.name, node.hash);
      touch(name.directory);
    }
    node.hash = hash;
  }
  std::uint64_t sum = nodes_[tree_.root].hash;
  for (const FileId id : linked_) {
    std::uint64_t paths = 0;
    int count = 0;
    for (const Name& name : nodes_[id].names) {
      std::uint64_t path = 0;
      if (!path_hash(name, path)) continue;
      paths += path;
      ++count;
    }
    if (count > 1) sum += tree_hash::links(paths);
  }
  return sum;
}

}  // namespace crashgate::harness
