#include "harness/crash_state/micro_operation_poset.h"

#include <algorithm>
#include <bit>

namespace crashgate::harness {

bool MicroOperationPoset::can_add(const ElementSet& ideal, std::uint32_t element) const {
  return !contains(impossible, element) &&
         std::ranges::all_of(needs[element],
                             [&](std::uint32_t need) { return contains(ideal, need); });
}

void MicroOperationPoset::fill(ElementSet& ideal, std::uint32_t begin) const {
  for (std::uint32_t element = begin; element < size(); ++element) {
    if (can_add(ideal, element)) insert(ideal, element);
  }
}

bool MicroOperationPoset::add_with_needs(ElementSet& ideal, std::uint32_t element) const {
  std::vector<std::uint32_t> left{element};
  while (!left.empty()) {
    const std::uint32_t next_element = left.back();
    left.pop_back();
    if (contains(ideal, next_element)) continue;
    if (contains(impossible, next_element)) return false;
    insert(ideal, next_element);
    const auto below = needs[next_element];
    left.insert(left.end(), below.begin(), below.end());
  }
  return true;
}

void MicroOperationPoset::remove_with_dependents(ElementSet& ideal, std::uint32_t element) const {
  std::vector<std::uint32_t> left{element};
  while (!left.empty()) {
    const std::uint32_t next_element = left.back();
    left.pop_back();
    if (!contains(ideal, next_element)) continue;
    erase(ideal, next_element);
    const auto above = needed_by[next_element];
    left.insert(left.end(), above.begin(), above.end());
  }
}

bool MicroOperationPoset::next(ElementSet& ideal) const {
  std::size_t word = ideal.size();
  while (word > 0 && ideal[word - 1] == 0) --word;
  if (word == 0) return false;
  const auto last = static_cast<std::uint32_t>(
      word * 64 - 1 - static_cast<std::size_t>(std::countl_zero(ideal[word - 1])));
  erase(ideal, last);
  fill(ideal, last + 1);
  return true;
}

MicroOperationPoset MicroOperationPoset::renumbered(const ElementSet& lower) const {
  std::vector<std::uint32_t> order;
  for (const bool in_lower : {true, false}) {
    for (std::uint32_t element = 0; element < size(); ++element) {
      if (contains(lower, element) == in_lower) order.push_back(element);
    }
  }
  std::vector<std::uint32_t> number(size());
  for (std::uint32_t at = 0; at < size(); ++at) number[order[at]] = at;
  MicroOperationPoset result;
  result.impossible = none();
  for (const std::uint32_t element : order) {
    const auto own = members[element];
    result.members.items.insert(result.members.items.end(), own.begin(), own.end());
    result.members.end_list();
    for (const std::uint32_t need : needs[element]) result.needs.items.push_back(number[need]);
    result.needs.end_list();
    for (const std::uint32_t above : needed_by[element]) {
      result.needed_by.items.push_back(number[above]);
    }
    result.needed_by.end_list();
    if (contains(impossible, element)) insert(result.impossible, number[element]);
  }
  return result;
}

}  // namespace crashgate::harness
