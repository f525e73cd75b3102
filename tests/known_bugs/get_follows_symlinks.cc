// get opens whatever the key's name leads to.
//
// Fails: somebody has put a symlink to /etc/shadow at k; get k returns what is in there.
//
// Fix: O_NOFOLLOW. That is what SimpleStore does.
#include <fcntl.h>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class GetFollowsSymlinks : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<UniqueFd> open_object_at(const Place& place) override {
    return open_for_reading(place, O_NONBLOCK);
  }
};

const harness::RegisterStore bad{{.name = "get-follows-symlinks",
                                  .good = false,
                                  .description = "get follows a symlink that stands at the key",
                                  .open = &open_store<GetFollowsSymlinks>}};
const harness::RegisterStore fixed{{.name = "get-follows-symlinks-fixed",
                                    .good = true,
                                    .description = "get opens with O_NOFOLLOW",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
