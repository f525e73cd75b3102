// One write, and only its failure is looked at, not how much it wrote.
//
// Fails: the disk has 4096 bytes left and the payload 10000: write takes 4096 and returns that.
// fsync and rename succeed, put returns success, and the object is a prefix of the payload. A short
// write for any other reason (a signal, more than 2 GiB) does the same.
//
// Fix: write again until all is written.
#include <unistd.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class IgnoresShortWrite : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> write_payload(int fd, std::string_view payload, std::string_view key) override {
    const ssize_t written =
        uninterrupted([&] { return write(fd, payload.data(), payload.size()); });
    if (written < 0) return failure(errno, "write", key);
    return {};
  }
};

const harness::RegisterStore bad{
    {.name = "ignores-short-write",
     .good = false,
     .description = "put takes a write that returned less than asked for a whole one",
     .open = &open_store<IgnoresShortWrite>}};
const harness::RegisterStore fixed{{.name = "ignores-short-write-fixed",
                                    .good = true,
                                    .description = "put writes until nothing is left",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
