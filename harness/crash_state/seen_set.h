// A set of hashes, 8 bytes each in a table that is at most 4/5 full: it can hold the states of a
// long run. The hashes are taken to be random already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace crashgate::harness {

class SeenSet {
 public:
  /// Whether it was not there yet.
  bool insert(std::uint64_t hash) {
    if (hash == kFree) hash = 1;
    if ((size_ + 1) * 5 > table_.size() * 4) grow();
    if (!place(hash)) return false;
    ++size_;
    return true;
  }
  bool contains(std::uint64_t hash) const {
    if (hash == kFree) hash = 1;
    const std::size_t mask = table_.size() - 1;
    for (std::size_t at = hash & mask; table_[at] != kFree; at = (at + 1) & mask) {
      if (table_[at] == hash) return true;
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kFree = 0;

  bool place(std::uint64_t hash) {
    const std::size_t mask = table_.size() - 1;
    std::size_t at = hash & mask;
    for (; table_[at] != kFree; at = (at + 1) & mask) {
      if (table_[at] == hash) return false;
    }
    table_[at] = hash;
    return true;
  }
  void grow() {
    std::vector<std::uint64_t> old(table_.size() * 2, kFree);
    old.swap(table_);
    for (const std::uint64_t hash : old) {
      if (hash != kFree) place(hash);
    }
  }

  std::vector<std::uint64_t> table_ = std::vector<std::uint64_t>(1024, kFree);
  std::size_t size_ = 0;
};

}  // namespace crashgate::harness
