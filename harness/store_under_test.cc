#include "harness/store_under_test.h"

#include <algorithm>

namespace crashgate::harness {
namespace {

// Filled during static initialization, in whatever order the linker chose; constant from main on.
std::vector<StoreEntry>& registry() {
  static std::vector<StoreEntry> entries;
  return entries;
}

}  // namespace

RegisterStore::RegisterStore(StoreEntry entry) {
  auto& entries = registry();
  const auto by_name = [](const StoreEntry& a, const StoreEntry& b) { return a.name < b.name; };
  entries.insert(std::upper_bound(entries.begin(), entries.end(), entry, by_name), entry);
}

std::span<const StoreEntry> stores() {
  return registry();
}

const StoreEntry* find_store(std::string_view name) {
  const auto found = std::ranges::find(stores(), name, &StoreEntry::name);
  return found == stores().end() ? nullptr : &*found;
}

}  // namespace crashgate::harness
