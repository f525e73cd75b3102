// fsync is called, its result is not looked at.
//
// Fails: fsync of the temporary returns EIO, so its bytes may never reach the disk; put publishes
// it over the old object and returns success. After a power loss the key may hold zeros, and the
// old payload is gone.
//
// Fix: a failed fsync fails the put; the temporary is given up, not synced again. That is what
// SimpleStore does.
#include <unistd.h>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class IgnoresFailedFsync : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> sync_payload(int fd, std::string_view) override {
    fsync(fd);
    return {};
  }
};

const harness::RegisterStore bad{
    {.name = "ignores-failed-fsync",
     .good = false,
     .description = "put publishes a payload whose fsync failed, and reports success",
     .open = &open_store<IgnoresFailedFsync>}};
const harness::RegisterStore fixed{{.name = "ignores-failed-fsync-fixed",
                                    .good = true,
                                    .description = "put gives a payload up when its fsync fails",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
