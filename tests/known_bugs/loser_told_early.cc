// put_if_absent claims the key with a lock, and whoever finds it claimed is told AlreadyExists at
// once.
//
// Fails: A has the claim and is still writing; B is told AlreadyExists, though nothing is there
// yet: its get finds nothing. A is killed, or its write fails with ENOSPC: B was beaten by nobody.
//
// Fix: the loser waits for the claim, then looks who won.
#include <fcntl.h>

#include <cerrno>
#include <functional>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class ClaimingStore : public SimpleStore {
 protected:
  using SimpleStore::SimpleStore;
  // The claim is an empty file in `.simple/`, held by its lock, unlinked when it is given up.
  Result<Temporary> claim(const Place& place, int lock_operation) {
    const std::string name = std::to_string(std::hash<std::string>{}(place.key)) + ".claim";
    for (int attempt = 0; attempt < kTries; ++attempt) {
      auto claimed = open_temporary(name, O_CREAT, lock_operation);
      if (!claimed) return tl::unexpected(claimed.error());
      if (*claimed) return std::move(**claimed);
    }
    return failure(EAGAIN, "flock", place.key);
  }
};

class LoserToldEarly : public ClaimingStore {
  using ClaimingStore::ClaimingStore;
  Result<void> create(const Place& place, std::string_view payload) override {
    const auto claimed = claim(place, LOCK_EX | LOCK_NB);
    if (!claimed && claimed.error().errno_value == EWOULDBLOCK) return lose(place);
    if (!claimed) return tl::unexpected(claimed.error());
    return SimpleStore::create(place, payload);
  }
};

class LoserWaits : public ClaimingStore {
  using ClaimingStore::ClaimingStore;
  Result<void> create(const Place& place, std::string_view payload) override {
    const auto claimed = claim(place, LOCK_EX);
    if (!claimed) return tl::unexpected(claimed.error());
    return SimpleStore::create(place, payload);
  }
};

const harness::RegisterStore bad{
    {.name = "loser-told-early",
     .good = false,
     .description = "put_if_absent tells a loser AlreadyExists while the winner still writes",
     .open = &open_store<LoserToldEarly>}};
const harness::RegisterStore fixed{
    {.name = "loser-told-early-fixed",
     .good = true,
     .description = "put_if_absent waits for the one that claimed the key, then looks who won",
     .open = &open_store<LoserWaits>}};

}  // namespace
}  // namespace crashgate::known_bugs
