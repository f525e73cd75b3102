// put_if_absent creates the key itself with O_CREAT|O_EXCL, then writes it, then syncs file and
// directory.
//
// Fails: killed after open and before the last write, it leaves an empty or partial object, which
// is the winner for ever: every later put_if_absent is told AlreadyExists. Readers see the part
// meanwhile, without any crash.
//
// Fix: the payload is written under a temporary name; link, which is exclusive as well, publishes
// it whole. That is what SimpleStore does.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class ExclusiveCreateThenWrite : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> create(const Place& place, std::string_view payload) override {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const UniqueFd fd(uninterrupted([&] {
        return openat(place.directory.get(), place.name.c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      }));
      if (fd) return fill(place, fd.get(), payload);
      if (errno != EEXIST) return failure(errno, "openat", place.key);
      const auto occupant = check_occupant(place);
      if (!occupant) return tl::unexpected(occupant.error());
      if (*occupant == Kind::kObject) return lose(place);
    }
    return failure(EEXIST, "openat", place.key);
  }

  Result<void> fill(const Place& place, int fd, std::string_view payload) {
    auto done = write_payload(fd, payload, place.key);
    if (done) done = sync_payload(fd, place.key);
    if (done) return settle_publication(place);
    const auto ours = still_named(place.directory.get(), place.name, fd);
    if (ours && *ours) unlinkat(place.directory.get(), place.name.c_str(), 0);
    return done;
  }
};

const harness::RegisterStore bad{
    {.name = "exclusive-create-then-write",
     .good = false,
     .description = "put_if_absent creates the key with O_EXCL, then writes it: a torn winner",
     .open = &open_store<ExclusiveCreateThenWrite>}};
const harness::RegisterStore fixed{
    {.name = "exclusive-create-then-write-fixed",
     .good = true,
     .description = "put_if_absent writes a temporary, then links it under the key",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
