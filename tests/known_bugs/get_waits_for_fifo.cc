// get opens the object as if it could only be a file.
//
// Fails: somebody has put a FIFO at k; the open waits until another process opens it for writing,
// which may be never.
//
// Fix: O_NONBLOCK, which files do not mind, and a look at what was opened. That is what SimpleStore
// does.
#include <fcntl.h>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class GetWaitsForFifo : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<UniqueFd> open_object_at(const Place& place) override {
    return open_for_reading(place, O_NOFOLLOW);
  }
};

const harness::RegisterStore bad{{.name = "get-waits-for-fifo",
                                  .good = false,
                                  .description = "get waits for the writer of a FIFO at the key",
                                  .open = &open_store<GetWaitsForFifo>}};
const harness::RegisterStore fixed{{.name = "get-waits-for-fifo-fixed",
                                    .good = true,
                                    .description = "get opens with O_NONBLOCK, then looks",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
