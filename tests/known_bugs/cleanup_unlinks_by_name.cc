// Where the directory cannot be synced after the publication, the publication is "taken back" by
// unlinking the key.
//
// Fails: A's put_if_absent has linked its object; B's put replaces it and returns; A's fsync of the
// directory fails with EIO, and A unlinks the key: B's acknowledged object is gone. With one
// process alone: put over an object that another process stored, the fsync fails, and the key is
// empty, holding neither the old payload nor the new one.
//
// Fix: what is published stays, and the caller is told Indeterminate. That is what SimpleStore
// does; its clean-up unlinks its own temporaries, whose names nobody else can have.
#include <unistd.h>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class CleanupUnlinksByName : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> settle_publication(const Place& place) override {
    auto synced = sync_fd(place.directory.get(), place.key);
    if (!synced) unlinkat(place.directory.get(), place.name.c_str(), 0);
    return synced;
  }
};

const harness::RegisterStore bad{
    {.name = "cleanup-unlinks-by-name",
     .good = false,
     .description = "after a failed fsync of the directory the key is unlinked, whoever's it is",
     .open = &open_store<CleanupUnlinksByName>}};
const harness::RegisterStore fixed{
    {.name = "cleanup-unlinks-by-name-fixed",
     .good = true,
     .description = "after a failed fsync of the directory the object stays: Indeterminate",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
