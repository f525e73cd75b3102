#include "faultinject/file_numbering.h"

namespace crashgate::faultinject {

FileId FileNumbering::find(const struct stat& status) const {
  const auto entry = ids_.find(inode_of(status));
  return entry == ids_.end() ? kNoFile : entry->second;
}

FileId FileNumbering::number(const struct stat& status) {
  const auto [entry, is_new] = ids_.try_emplace(inode_of(status), last_ + 1);
  if (is_new) ++last_;
  return entry->second;
}

FileId FileNumbering::made(const struct stat& status) {
  return ids_[inode_of(status)] = ++last_;
}

void FileNumbering::forget(const struct stat& status) {
  ids_.erase(inode_of(status));
}

}  // namespace crashgate::faultinject
