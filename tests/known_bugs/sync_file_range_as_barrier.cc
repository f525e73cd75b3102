// The payload is written out by sync_file_range, with every flag that it has.
//
// Fails: sync_file_range waits for the pages, but neither writes metadata (the size, the mapping of
// blocks) nor flushes the disk's cache; its manual page says so. After a power loss the key holds
// an empty object, zeros, or a part.
//
// Fix: fsync. That is what SimpleStore does.
#include <fcntl.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class SyncFileRangeAsBarrier : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> sync_payload(int fd, std::string_view key) override {
    constexpr unsigned kAllFlags =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (sync_file_range(fd, 0, 0, kAllFlags) != 0) return failure(errno, "sync_file_range", key);
    return {};
  }
};

const harness::RegisterStore bad{{.name = "sync-file-range-as-barrier",
                                  .good = false,
                                  .description = "put takes sync_file_range for a barrier",
                                  .open = &open_store<SyncFileRangeAsBarrier>}};
const harness::RegisterStore fixed{{.name = "sync-file-range-as-barrier-fixed",
                                    .good = true,
                                    .description = "put uses fsync",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
