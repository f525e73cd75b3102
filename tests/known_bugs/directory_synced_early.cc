// The directory is synced before the publication instead of after it.
//
// Fails: put returns success when its rename is in memory only. After a power loss the key holds
// the old payload, or nothing.
//
// Fix: rename first, then fsync the directory. That is what SimpleStore does.
#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class DirectorySyncedEarly : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Temporary> make_temporary(const Place& place) override {
    if (auto synced = sync_fd(place.directory.get(), place.key); !synced) {
      return tl::unexpected(synced.error());
    }
    return SimpleStore::make_temporary(place);
  }
  Result<void> settle_publication(const Place&) override { return {}; }
};

const harness::RegisterStore bad{
    {.name = "directory-synced-early",
     .good = false,
     .description = "put syncs the directory before the rename instead of after it",
     .open = &open_store<DirectorySyncedEarly>}};
const harness::RegisterStore fixed{{.name = "directory-synced-early-fixed",
                                    .good = true,
                                    .description = "put syncs the directory after the rename",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
