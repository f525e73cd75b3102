// remove unlinks, and does not sync the directory.
//
// Fails: remove returns success; after a power loss the object is there again.
//
// Fix: fsync the directory. That is what SimpleStore does.
#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class RemovalNotSynced : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> settle_removal(const Place&) override { return {}; }
};

const harness::RegisterStore bad{{.name = "removal-not-synced",
                                  .good = false,
                                  .description = "remove does not sync the directory",
                                  .open = &open_store<RemovalNotSynced>}};
const harness::RegisterStore fixed{
    {.name = "removal-not-synced-fixed",
     .good = true,
     .description = "remove syncs the directory before it reports success",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
