// New ancestor directories are made, and their names never synced.
//
// Fails: put "a/b" makes a, writes a/b and syncs a; the name of a is in the root, which nobody
// synced. After a power loss a is gone with all that is in it.
//
// Fix: fsync the parent of every directory that was made. That is what SimpleStore does.
#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class AncestorsNotSynced : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Place> prepare_place(std::string_view key) override {
    return make_place_unsynced(root(), key);
  }
};

const harness::RegisterStore bad{
    {.name = "ancestors-not-synced",
     .good = false,
     .description = "put syncs the key's directory, not the names of new ancestors",
     .open = &open_store<AncestorsNotSynced>}};
const harness::RegisterStore fixed{{.name = "ancestors-not-synced-fixed",
                                    .good = true,
                                    .description = "put syncs every ancestor that holds a new name",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
