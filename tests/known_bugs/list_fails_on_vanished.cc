// list looks at every name that the directory has shown, and fails where one is gone by then.
//
// Fails: list has read the directory, k among its names; another process removes k; fstatat of k
// gives ENOENT, and list returns an error instead of the other keys.
//
// Fix: what is gone is not listed. That is what SimpleStore does.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class ListFailsOnVanished : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Kind> kind_of_entry(int directory, const std::string& name) override {
    struct stat status;
    if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return failure(errno, "fstatat", name);
    }
    if (S_ISREG(status.st_mode)) return Kind::kObject;
    return S_ISDIR(status.st_mode) ? Kind::kDirectory : Kind::kOther;
  }
};

const harness::RegisterStore bad{{.name = "list-fails-on-vanished",
                                  .good = false,
                                  .description = "list fails when an entry is removed under it",
                                  .open = &open_store<ListFailsOnVanished>}};
const harness::RegisterStore fixed{{.name = "list-fails-on-vanished-fixed",
                                    .good = true,
                                    .description = "list passes over an entry that is gone",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
