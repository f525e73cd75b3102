// A directory tree that micro-operations are applied to and taken from, one at a time, and its
// hash, kept up to date: the cost of a step depends on what the step changes.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/crash_state/directory_tree.h"
#include "harness/crash_state/micro_operation.h"

namespace crashgate::harness {

class CrashTree {
 public:
  /// The initial tree. `micro_operations` must outlive this.
  explicit CrashTree(const MicroOperations& micro_operations);

  /// Needs the one before on the same location to be applied already.
  void apply(std::uint32_t micro_operation) {
    const MicroOperation& operation = all_.operations[micro_operation];
    set(operation.location, operation.value);
  }
  /// Needs to be the last that was applied to its location.
  void revert(std::uint32_t micro_operation) {
    const MicroOperation& operation = all_.operations[micro_operation];
    set(operation.location, all_.value_before(operation));
  }
  /// Back to the initial tree.
  void reset();

  const DirectoryTree& tree() const { return tree_; }
  /// hash_of(tree()).
  std::uint64_t hash();

 private:
  struct Name {
    FileId directory = faultinject::kNoFile;
    std::uint64_t name = 0;  // its hash
    bool operator==(const Name&) const = default;
  };
  struct Node {
    TreeFile* file = nullptr;
    std::uint64_t target = 0;  // terms of its hash
    std::uint64_t attributes = 0;
    std::uint64_t content = 0;
    std::uint64_t entries = 0;
    std::uint64_t hash = 0;  // as it is counted in the directories that name it
    bool stale = false;      // hash is
    std::vector<Name> names;
  };
  struct Place {                // of a location
    std::uint64_t content = 0;  // kData: its term, as counted
    std::uint64_t name = 0;     // kEntry: hash of the name
    const LocationValue* value = nullptr;
    std::map<std::string, FileId>::node_type entry;  // kEntry: kept while it is not in the tree
  };

  void set(std::uint32_t location, const LocationValue& value);
  void set_size(FileId id, std::uint64_t size);
  void show_content(std::uint32_t location);
  void set_entry(std::uint32_t location, FileId target);
  void add_name(FileId child, const Name& name);
  void remove_name(FileId child, const Name& name);
  void touch(FileId id);
  bool is_attached(FileId id) const;
  bool path_hash(const Name& name, std::uint64_t& hash, int depth = 0) const;
  std::uint64_t node_hash(const Node& node) const;

  const MicroOperations& all_;
  DirectoryTree tree_;
  std::vector<Node> nodes_;    // by FileId
  std::vector<Place> places_;  // by location
  std::vector<FileId> stale_;
  std::vector<FileId> detached_;  // stale too, but not to be reached from the root
  std::set<FileId> linked_;       // have several names
  std::vector<ContentPiece> scratch_;
};

}  // namespace crashgate::harness
