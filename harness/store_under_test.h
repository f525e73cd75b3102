// What the engines know of a store: these operations and nothing else. The production store and the
// known-bad ones register themselves by name; no engine looks at the name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

/// One open store over a root directory, used by one process at a time. The contract of each
/// operation is that of LocalFileStore (store/local_file_store.h).
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual Result<void> put(std::string_view key, std::string_view payload) = 0;
  virtual Result<void> put_if_absent(std::string_view key, std::string_view payload) = 0;
  virtual Result<std::string> get(std::string_view key) = 0;
  virtual Result<std::string> get_range(std::string_view key, std::uint64_t offset,
                                        std::uint64_t length) = 0;
  virtual Result<void> remove(std::string_view key) = 0;
  virtual Result<bool> exists(std::string_view key) = 0;
  virtual Result<std::vector<std::string>> list(std::string_view prefix) = 0;
  virtual Result<void> recover() = 0;
};

struct StoreEntry {
  std::string_view name;         // what --store takes
  bool good = true;              // keeps the contract; false: a known-bad twin
  std::string_view description;  // one line, no tab
  /// Opens the store over an existing directory, in the calling process.
  Result<std::unique_ptr<StoreUnderTest>> (*open)(const std::string& root) = nullptr;
};

/// Every registered store, sorted by name.
std::span<const StoreEntry> stores();
/// Null where no store has that name.
const StoreEntry* find_store(std::string_view name);

/// Registers a store during static initialization:
///   static const RegisterStore registration{{.name = "...", .good = false, .description = "...",
///   .open = &open}};
struct RegisterStore {
  explicit RegisterStore(StoreEntry entry);
};

/// Makes the production store known, as "local-file". Idempotent.
void register_production_store();

}  // namespace crashgate::harness
