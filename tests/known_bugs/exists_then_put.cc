// put_if_absent asks whether the key is there, and if not, puts.
//
// Fails: processes A and B both find the key absent; A renames its object into place and returns;
// B's rename replaces it and B returns. Two winners, and A's acknowledged object is gone. No crash
// or error is needed.
//
// Fix: the question may stay, as a short cut, but the kernel decides: renameat2 with
// RENAME_NOREPLACE.
#include <stdio.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class ExistsThenPut : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> create(const Place& place, std::string_view payload) override {
    const auto occupant = check_occupant(place);
    if (!occupant) return tl::unexpected(occupant.error());
    if (*occupant == Kind::kObject) return lose(place);
    return replace(place, payload);
  }
};

class RenameWithoutReplacing : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> create(const Place& place, std::string_view payload) override {
    auto occupant = check_occupant(place);
    if (!occupant) return tl::unexpected(occupant.error());
    if (*occupant == Kind::kObject) return lose(place);
    auto temporary = stage(place, payload);
    if (!temporary) return tl::unexpected(temporary.error());
    for (int attempt = 0; attempt < kTries; ++attempt) {
      if (renameat2(temporaries(), temporary->name().c_str(), place.directory.get(),
                    place.name.c_str(), RENAME_NOREPLACE) == 0) {
        temporary->forget_name();
        return settle_publication(place);
      }
      if (errno != EEXIST) return failure(errno, "renameat2", place.key);
      occupant = check_occupant(place);
      if (!occupant) return tl::unexpected(occupant.error());
      if (*occupant == Kind::kObject) return lose(place);
    }
    return failure(EEXIST, "renameat2", place.key);
  }
};

const harness::RegisterStore bad{
    {.name = "exists-then-put",
     .good = false,
     .description = "put_if_absent looks whether the key is there, then replaces: two winners",
     .open = &open_store<ExistsThenPut>}};
const harness::RegisterStore fixed{
    {.name = "exists-then-put-fixed",
     .good = true,
     .description = "put_if_absent renames without replacing, so the kernel picks the winner",
     .open = &open_store<RenameWithoutReplacing>}};

}  // namespace
}  // namespace crashgate::known_bugs
