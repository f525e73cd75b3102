// fdatasync is called on the wrong descriptor: that of the directory of temporaries.
//
// Fails: the call returns 0, and says nothing of the payload. After a power loss the key holds an
// empty object, zeros, or a part.
//
// Fix: sync the descriptor that was written through. That is what SimpleStore does.
#include <unistd.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class WrongDescriptorSynced : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> sync_payload(int, std::string_view key) override {
    if (fdatasync(temporaries()) != 0) return failure(errno, "fdatasync", key);
    return {};
  }
};

const harness::RegisterStore bad{
    {.name = "wrong-descriptor-synced",
     .good = false,
     .description = "put calls fdatasync on another descriptor than the payload's",
     .open = &open_store<WrongDescriptorSynced>}};
const harness::RegisterStore fixed{{.name = "wrong-descriptor-synced-fixed",
                                    .good = true,
                                    .description = "put syncs the descriptor that it wrote through",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
