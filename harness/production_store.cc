// The production store as the engines see it.

#include <utility>

#include "harness/store_under_test.h"
#include "store/local_file_store.h"

namespace crashgate::harness {
namespace {

class ProductionStore : public StoreUnderTest {
 public:
  explicit ProductionStore(LocalFileStore store) : store_(std::move(store)) {}
  Result<void> put(std::string_view key, std::string_view payload) override {
    return store_.put(key, payload);
  }
  Result<void> put_if_absent(std::string_view key, std::string_view payload) override {
    return store_.put_if_absent(key, payload);
  }
  Result<std::string> get(std::string_view key) override { return store_.get(key); }
  Result<std::string> get_range(std::string_view key, std::uint64_t offset,
                                std::uint64_t length) override {
    return store_.get_range(key, offset, length);
  }
  Result<void> remove(std::string_view key) override { return store_.remove(key); }
  Result<bool> exists(std::string_view key) override { return store_.exists(key); }
  Result<std::vector<std::string>> list(std::string_view prefix) override {
    return store_.list(prefix);
  }
  Result<void> recover() override {
    return store_.recover().map([](const Recovery&) {});
  }

 private:
  LocalFileStore store_;
};

Result<std::unique_ptr<StoreUnderTest>> open(const std::string& root) {
  auto store = LocalFileStore::open(root);
  if (!store) return tl::unexpected(store.error());
  return std::make_unique<ProductionStore>(std::move(*store));
}

}  // namespace

// Called, not run by a static initializer: this file is in an archive, whose unused members a
// linker drops.
void register_production_store() {
  static const RegisterStore registration{{.name = "local-file",
                                           .good = true,
                                           .description = "the production store, LocalFileStore",
                                           .open = &open}};
}

}  // namespace crashgate::harness
