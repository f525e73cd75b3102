// Which blocks of a file hold data.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

namespace crashgate::harness {

/// Disjoint ranges of block numbers [begin, end) that do not touch.
class BlockSet {
 public:
  bool contains(std::uint64_t block) const {
    const auto after = ranges_.upper_bound(block);
    return after != ranges_.begin() && std::prev(after)->second > block;
  }
  bool contains_all(std::uint64_t begin, std::uint64_t end) const {
    const auto after = ranges_.upper_bound(begin);
    return begin >= end || (after != ranges_.begin() && std::prev(after)->second >= end);
  }
  void add(std::uint64_t begin, std::uint64_t end) {
    if (contains_all(begin, end)) return;
    auto next = ranges_.upper_bound(begin);
    if (next != ranges_.begin() && std::prev(next)->second >= begin) {
      begin = std::prev(next)->first;
      end = std::max(end, std::prev(next)->second);
      next = ranges_.erase(std::prev(next));
    }
    while (next != ranges_.end() && next->first <= end) {
      end = std::max(end, next->second);
      next = ranges_.erase(next);
    }
    ranges_[begin] = end;
  }
  void remove(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    auto next = ranges_.lower_bound(begin);
    if (next != ranges_.begin() && std::prev(next)->second > begin) {
      const std::uint64_t old_end = std::exchange(std::prev(next)->second, begin);
      if (old_end > end) ranges_[end] = old_end;
    }
    while (next != ranges_.end() && next->first < end) {
      const std::uint64_t old_end = next->second;
      next = ranges_.erase(next);
      if (old_end > end) ranges_[end] = old_end;
    }
  }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;
};

}  // namespace crashgate::harness
