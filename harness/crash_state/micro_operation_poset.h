// The micro-operations that may or may not have persisted at one moment, as a partially ordered
// set: its elements are groups of them, below each what it needs. The crash states of the moment
// are its ideals (down-closed sets).
//
// Elements are numbered so that what one needs comes before it; in trace order, unless `first` says
// otherwise. A set of elements is a bitset, 64 to a word.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace crashgate::harness {

using ElementSet = std::vector<std::uint64_t>;

inline bool contains(const ElementSet& set, std::uint32_t element) {
  return (set[element / 64] >> (element % 64) & 1) != 0;
}
inline void insert(ElementSet& set, std::uint32_t element) {
  set[element / 64] |= std::uint64_t{1} << (element % 64);
}
inline void erase(ElementSet& set, std::uint32_t element) {
  set[element / 64] &= ~(std::uint64_t{1} << (element % 64));
}

/// Lists of numbers, one after the other.
struct Lists {
  std::vector<std::uint32_t> begin{0};
  std::vector<std::uint32_t> items;
  std::span<const std::uint32_t> operator[](std::uint32_t list) const {
    return std::span(items).subspan(begin[list], begin[list + 1] - begin[list]);
  }
  void end_list() { begin.push_back(static_cast<std::uint32_t>(items.size())); }
};

struct MicroOperationPoset {
  Lists members;  // micro-operations of each element, ascending
  Lists needs;    // elements that each needs, at least the direct ones
  Lists needed_by;
  ElementSet impossible;  // needs what has not even been issued

  std::uint32_t size() const { return static_cast<std::uint32_t>(members.begin.size() - 1); }
  ElementSet none() const { return ElementSet((size() + 63) / 64, 0); }

  /// Adds the elements from `begin` on that can be added, in order.
  void fill(ElementSet& ideal, std::uint32_t begin) const;
  bool can_add(const ElementSet& ideal, std::uint32_t element) const;
  /// Adds the element and all that it needs; false (and part of it done) where it is impossible.
  bool add_with_needs(ElementSet& ideal, std::uint32_t element) const;
  /// Removes the element and all that needs it.
  void remove_with_dependents(ElementSet& ideal, std::uint32_t element) const;

  /// The ideal that comes next when they are taken in descending order, as numbers whose most
  /// significant digit is element 0: the last element is left out, and all after it that can be is
  /// put in again. The first is what fill(none, 0) makes; false after the last, the empty one.
  bool next(ElementSet& ideal) const;

  /// The same with `lower`, an ideal, numbered before the rest.
  MicroOperationPoset renumbered(const ElementSet& lower) const;
};

}  // namespace crashgate::harness
