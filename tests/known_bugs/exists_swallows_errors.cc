// exists is "could I stat it?".
//
// Fails: an object is there, its directory may not be searched (EACCES) or cannot be read (EIO), or
// the process is out of descriptors (EMFILE): exists answers no, and the caller goes on to store or
// restore what was never lost.
//
// Fix: only ENOENT, and an ancestor that is no directory, mean no; all else is an error. That is
// what SimpleStore does.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class ExistsSwallowsErrors : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<bool> object_exists(std::string_view key) override {
    const auto place = find_place(root(), key);
    if (!place || !*place) return false;
    struct stat status;
    return fstatat((*place)->directory.get(), (*place)->name.c_str(), &status,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(status.st_mode);
  }
};

const harness::RegisterStore bad{{.name = "exists-swallows-errors",
                                  .good = false,
                                  .description = "exists answers no to EACCES or EIO",
                                  .open = &open_store<ExistsSwallowsErrors>}};
const harness::RegisterStore fixed{
    {.name = "exists-swallows-errors-fixed",
     .good = true,
     .description = "exists answers no to ENOENT only, and reports every other error",
     .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
