// The directory is not synced after the publication.
//
// Fails: put returns success when its rename is in memory only. After a power loss the key holds
// the old payload, or nothing.
//
// Fix: fsync the directory before success is reported. That is what SimpleStore does.
#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class DirectoryNotSynced : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> settle_publication(const Place&) override { return {}; }
};

const harness::RegisterStore bad{{.name = "directory-not-synced",
                                  .good = false,
                                  .description = "put does not sync the directory after the rename",
                                  .open = &open_store<DirectoryNotSynced>}};
const harness::RegisterStore fixed{
    {.name = "directory-not-synced-fixed",
     .good = true,
     .description = "put syncs the directory before it reports success",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
