// put opens the directories of a key one after the other, through whatever stands there.
//
// Fails: somebody has put a symlink to /etc at d; put d/passwd replaces a file that is none of the
// store's.
//
// Fix: O_NOFOLLOW at every step (or openat2 with RESOLVE_NO_SYMLINKS, once). That is what
// SimpleStore does.
#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class PutThroughSymlink : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Place> prepare_place(std::string_view key) override {
    return make_place_through_symlinks(root(), key);
  }
};

const harness::RegisterStore bad{
    {.name = "put-through-symlink",
     .good = false,
     .description = "put follows a symlink that stands at a directory of the key",
     .open = &open_store<PutThroughSymlink>}};
const harness::RegisterStore fixed{{.name = "put-through-symlink-fixed",
                                    .good = true,
                                    .description = "put opens each directory with O_NOFOLLOW",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
