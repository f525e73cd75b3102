// The temporary is written and renamed, and never synced.
//
// Fails: the rename is durable (the directory is synced), the payload's blocks are not. After a
// power loss the key holds an empty object, zeros, or a part; the old payload is gone.
//
// Fix: fsync the temporary before its rename. That is what SimpleStore does.
#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class PayloadNotSynced : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<void> sync_payload(int, std::string_view) override { return {}; }
};

const harness::RegisterStore bad{
    {.name = "payload-not-synced",
     .good = false,
     .description = "put renames a payload into place that was never synced",
     .open = &open_store<PayloadNotSynced>}};
const harness::RegisterStore fixed{{.name = "payload-not-synced-fixed",
                                    .good = true,
                                    .description = "put syncs the payload before it renames it",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
