// The temporary of a key always has the same name.
//
// Fails: A opens the temporary of key k and writes half; B opens the same file, truncates it,
// writes all, syncs and renames it to k, and returns; A, its descriptor now that of the published
// object, writes its second half over it. A's rename then fails, since B took the name. k holds a
// mixture, and B's acknowledged object is gone. Also: killed between link and unlink of
// put_if_absent, the leftover temporary is the published object, and the next put of k truncates
// it.
//
// Fix: the name may stay if each temporary has one writer: created with O_EXCL, and a taken name is
// waited for and cleared away, never written to.
#include <fcntl.h>

#include <cerrno>
#include <functional>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

std::string name_for(const Place& place) {
  return std::to_string(std::hash<std::string>{}(place.key)) + ".tmp";
}

class FixedTemporaryName : public SimpleStore {
  using SimpleStore::SimpleStore;
  // The shared lock tells recover that a writer lives.
  Result<Temporary> make_temporary(const Place& place) override {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      auto temporary = open_temporary(name_for(place), O_CREAT | O_TRUNC, LOCK_SH);
      if (!temporary) return tl::unexpected(temporary.error());
      if (*temporary) return std::move(**temporary);
    }
    return failure(EAGAIN, "flock", place.key);
  }
};

class OneWriterPerTemporary : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Temporary> make_temporary(const Place& place) override {
    const std::string name = name_for(place);
    for (int attempt = 0; attempt < kTries; ++attempt) {
      auto temporary = open_temporary(name, O_CREAT | O_EXCL, LOCK_EX);
      if (!temporary) return tl::unexpected(temporary.error());
      if (*temporary) return std::move(**temporary);
      if (auto cleared = remove_abandoned(name, LOCK_EX); !cleared) {
        return tl::unexpected(cleared.error());
      }
    }
    return failure(EAGAIN, "flock", place.key);
  }
};

const harness::RegisterStore bad{
    {.name = "fixed-temporary-name",
     .good = false,
     .description = "one temporary name per key: two writers of a key write into one file",
     .open = &open_store<FixedTemporaryName>}};
const harness::RegisterStore fixed{
    {.name = "fixed-temporary-name-fixed",
     .good = true,
     .description = "one temporary name per key, created with O_EXCL and waited for where taken",
     .open = &open_store<OneWriterPerTemporary>}};

}  // namespace
}  // namespace crashgate::known_bugs
