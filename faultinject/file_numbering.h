// FileIds for inodes. The file system gives inode numbers out again; FileIds are never reused, so
// whoever sees a file being made must say so (made), and whoever sees a file being made elsewhere
// on the same file system must say that too (forget).
//
// Not thread-safe.
#pragma once

#include <sys/stat.h>

#include <unordered_map>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

class FileNumbering {
 public:
  /// kNoFile for an inode that has no number.
  FileId find(const struct stat& status) const;
  /// The number that the inode has, or gets now.
  FileId number(const struct stat& status);
  /// A new number for an inode that has just been made, whatever had its inode number before.
  FileId made(const struct stat& status);
  /// The inode number belongs to a file outside the tree now.
  void forget(const struct stat& status);

 private:
  struct Inode {
    dev_t device;
    ino_t number;
    bool operator==(const Inode&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Inode& inode) const {
      return std::hash<ino_t>()(inode.number * 0x9e3779b97f4a7c15u ^ inode.device);
    }
  };
  static Inode inode_of(const struct stat& status) { return {status.st_dev, status.st_ino}; }

  std::unordered_map<Inode, FileId, Hash> ids_;
  FileId last_ = kNoFile;
};

}  // namespace crashgate::faultinject
