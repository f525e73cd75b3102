#include "harness/crash_state/crash_moment.h"

#include <algorithm>
#include <bit>
#include <tuple>

namespace crashgate::harness {

CrashMoment::CrashMoment(const faultinject::Trace& trace, const MicroOperations& micro_operations,
                         const MicroOperationNeeds& needs, const Durability& durability,
                         const PersistenceModel& model)
    : trace_(trace),
      all_(micro_operations),
      needs_(needs),
      durability_(durability),
      model_(model),
      tree_(micro_operations),
      element_of_(all_.operations.size()),
      last_of_group_(all_.operations.size()) {
  for (std::uint32_t index = 0; index < all_.operations.size(); ++index) {
    by_issue_.push_back(index);
    if (durability.forced[index] != kNever) by_force_.push_back(index);
  }
  const auto issued = [&](std::uint32_t index) { return durability.issued[index]; };
  const auto forced = [&](std::uint32_t index) { return durability.forced[index]; };
  std::ranges::stable_sort(by_issue_, {}, issued);
  std::ranges::stable_sort(by_force_, {}, forced);
}

void CrashMoment::rewind() {
  tree_.reset();
  open_.clear();
  next_issue_ = 0;
  next_force_ = 0;
}

void CrashMoment::move_to(std::uint32_t moment) {
  show(poset_.none());
  if (moment == moment_) {
    build_poset();
    return;
  }
  if (moment_ != kNever && moment < moment_) rewind();
  moment_ = moment;
  const auto& [issued, forced] = std::tie(durability_.issued, durability_.forced);
  for (; next_issue_ < by_issue_.size() && issued[by_issue_[next_issue_]] <= moment;
       ++next_issue_) {
    open_.push_back(by_issue_[next_issue_]);
  }
  for (; next_force_ < by_force_.size() && forced[by_force_[next_force_]] <= moment;
       ++next_force_) {
    tree_.apply(by_force_[next_force_]);
  }
  std::erase_if(open_, [&](std::uint32_t index) { return forced[index] <= moment; });
  std::ranges::sort(open_);
  build_poset();
}

/// An element takes the place of its last member: what a group needs comes before all of the group,
/// or between its members, within one event.
void CrashMoment::build_poset() {
  poset_ = {};
  std::uint32_t elements = 0;
  for (const std::uint32_t index : open_) last_of_group_[needs_.group[index]] = index;
  for (const std::uint32_t index : open_) {
    const std::uint32_t group = needs_.group[index];
    if (last_of_group_[group] != index) continue;
    for (std::uint32_t member = group; member <= index; ++member) {
      if (needs_.group[member] != group) continue;
      poset_.members.items.push_back(member);
      element_of_[member] = elements;
    }
    poset_.members.end_list();
    ++elements;
  }
  poset_.impossible = poset_.none();

  // metadata_in_order where barriers free it: each needs the last that is not free, and all free
  // ones since then.
  std::vector<std::uint32_t> in_order;
  std::vector<std::vector<std::uint32_t>> order_needs;
  if (model_.metadata_in_order && model_.fsync_frees_order) {
    order_needs.resize(elements);
    for (const std::uint32_t index : open_) {
      const MicroOperation& operation = all_.operations[index];
      if (!operation.in_order) continue;
      if (trace_.events[operation.event].begin >= durability_.freed_before[moment_]) {
        auto& below = order_needs[element_of_[index]];
        below.insert(below.end(), in_order.begin(), in_order.end());
        in_order.clear();
      }
      in_order.push_back(index);
    }
  }

  std::vector<std::uint32_t> below;
  std::vector<std::uint32_t> dependents(elements + 1, 0);
  for (std::uint32_t element = 0; element < elements; ++element) {
    below.clear();
    const auto need = [&](std::uint32_t index) {
      if (durability_.forced[index] <= moment_) return;
      if (durability_.issued[index] > moment_) {
        insert(poset_.impossible, element);
      } else if (element_of_[index] != element) {
        below.push_back(element_of_[index]);
      }
    };
    for (const std::uint32_t member : poset_.members[element]) {
      for (const std::uint32_t index : needs_.of(member)) need(index);
    }
    if (!order_needs.empty()) {
      for (const std::uint32_t index : order_needs[element]) need(index);
    }
    std::ranges::sort(below);
    below.erase(std::unique(below.begin(), below.end()), below.end());
    for (const std::uint32_t other : below) {
      ++dependents[other];
      if (contains(poset_.impossible, other)) insert(poset_.impossible, element);
    }
    poset_.needs.items.insert(poset_.needs.items.end(), below.begin(), below.end());
    poset_.needs.end_list();
  }

  Lists& above = poset_.needed_by;
  for (std::uint32_t element = 0; element < elements; ++element) {
    above.begin.push_back(above.begin.back() + dependents[element]);
  }
  above.items.resize(above.begin.back());
  std::vector<std::uint32_t> next(above.begin.begin(), above.begin.end() - 1);
  for (std::uint32_t element = 0; element < elements; ++element) {
    for (const std::uint32_t other : poset_.needs[element]) above.items[next[other]++] = element;
  }
  shown_ = poset_.none();
}

void CrashMoment::renumber(const ElementSet& lower) {
  show(poset_.none());
  poset_ = poset_.renumbered(lower);
}

void CrashMoment::show(const ElementSet& ideal) {
  for (std::size_t word = ideal.size(); word-- > 0;) {
    for (std::uint64_t left = shown_[word] & ~ideal[word]; left != 0;) {
      const int bit = 63 - std::countl_zero(left);
      left &= ~(std::uint64_t{1} << bit);
      const auto members = poset_.members[static_cast<std::uint32_t>(word * 64) + bit];
      for (std::size_t at = members.size(); at-- > 0;) tree_.revert(members[at]);
    }
  }
  for (std::size_t word = 0; word < ideal.size(); ++word) {
    for (std::uint64_t left = ideal[word] & ~shown_[word]; left != 0; left &= left - 1) {
      const auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
      for (const std::uint32_t member :
           poset_.members[static_cast<std::uint32_t>(word * 64) + bit]) {
        tree_.apply(member);
      }
    }
  }
  shown_ = ideal;
}

}  // namespace crashgate::harness
