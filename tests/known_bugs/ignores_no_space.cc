// The write loop ends when write makes no progress, and nobody asks why it ended.
//
// Fails: the disk is full: write fails with ENOSPC (at once, or after a short write), the loop
// ends, fsync and rename succeed, put returns success, and the object is empty or a prefix of the
// payload. The same with EIO and EDQUOT.
//
// Fix: a failed write fails the put, before anything is published.
#include <unistd.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class IgnoresNoSpace : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> write_payload(int fd, std::string_view payload, std::string_view) override {
    while (!payload.empty()) {
      const ssize_t written =
          uninterrupted([&] { return write(fd, payload.data(), payload.size()); });
      if (written <= 0) break;
      payload.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }
};

class ReportsNoSpace : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> write_payload(int fd, std::string_view payload, std::string_view key) override {
    while (!payload.empty()) {
      const ssize_t written =
          uninterrupted([&] { return write(fd, payload.data(), payload.size()); });
      if (written <= 0) return failure(written < 0 ? errno : EIO, "write", key);
      payload.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }
};

const harness::RegisterStore bad{
    {.name = "ignores-no-space",
     .good = false,
     .description = "put leaves its write loop at ENOSPC as if all were written",
     .open = &open_store<IgnoresNoSpace>}};
const harness::RegisterStore fixed{{.name = "ignores-no-space-fixed",
                                    .good = true,
                                    .description = "put fails when a write fails",
                                    .open = &open_store<ReportsNoSpace>}};

}  // namespace
}  // namespace crashgate::known_bugs
