// put opens the key itself, truncates it and writes the new payload into it.
//
// Fails: killed after open and before the last write, it leaves an empty or partial object, and the
// old payload is gone. The same where write fails with ENOSPC, and for a reader that comes
// meanwhile.
//
// Fix: the new payload is written to a temporary, and rename replaces the old object whole. That is
// what SimpleStore does.
#include <fcntl.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class WriteInPlace : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> replace(const Place& place, std::string_view payload) override {
    if (auto occupant = check_occupant(place); !occupant) return tl::unexpected(occupant.error());
    const UniqueFd fd(uninterrupted([&] {
      return openat(place.directory.get(), place.name.c_str(),
                    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    }));
    if (!fd) return failure(errno, "openat", place.key);
    if (auto written = write_payload(fd.get(), payload, place.key); !written) return written;
    if (auto synced = sync_payload(fd.get(), place.key); !synced) return synced;
    return settle_publication(place);
  }
};

const harness::RegisterStore bad{
    {.name = "write-in-place",
     .good = false,
     .description = "put truncates the object and writes it anew: a kill leaves it torn",
     .open = &open_store<WriteInPlace>}};
const harness::RegisterStore fixed{
    {.name = "write-in-place-fixed",
     .good = true,
     .description = "put writes a temporary and renames it over the object",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
