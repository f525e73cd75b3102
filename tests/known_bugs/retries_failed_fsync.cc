// A failed fsync is tried again, and the second answer believed.
//
// Fails: fsync of the temporary returns EIO; the kernel marks the pages clean all the same, so the
// second fsync has nothing to write and returns 0. put publishes and returns success. After a power
// loss the key may hold zeros, and the old payload is gone.
//
// Fix: the first failure is final. That is what SimpleStore does.
#include <unistd.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class RetriesFailedFsync : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> sync_payload(int fd, std::string_view key) override {
    for (int attempt = 0; attempt < 3; ++attempt) {
      if (fsync(fd) == 0) return {};
    }
    return failure(errno, "fsync", key);
  }
};

const harness::RegisterStore bad{
    {.name = "retries-failed-fsync",
     .good = false,
     .description = "put tries a failed fsync again and believes the second answer",
     .open = &open_store<RetriesFailedFsync>}};
const harness::RegisterStore fixed{{.name = "retries-failed-fsync-fixed",
                                    .good = true,
                                    .description = "put takes the first failure of fsync for final",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
