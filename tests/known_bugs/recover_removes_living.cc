// recover takes every temporary for a leftover: "nobody else runs while we start".
//
// Fails: A has written and synced its temporary; B starts and recovers, which unlinks it; A's
// rename or link then fails with ENOENT, though no disk, quota or permission was at fault.
//
// Fix: recover removes a temporary only if it gets the lock that a living writer holds. That is
// what SimpleStore does.
#include <unistd.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class RecoverRemovesLiving : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> recover_temporary(const std::string& name) override {
    if (unlinkat(temporaries(), name.c_str(), 0) != 0 && errno != ENOENT) {
      return failure(errno, "unlinkat", name);
    }
    return {};
  }
};

const harness::RegisterStore bad{
    {.name = "recover-removes-living",
     .good = false,
     .description = "recover unlinks every temporary, a living writer's too: its put fails",
     .open = &open_store<RecoverRemovesLiving>}};
const harness::RegisterStore fixed{
    {.name = "recover-removes-living-fixed",
     .good = true,
     .description = "recover unlinks only temporaries whose lock it gets",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
