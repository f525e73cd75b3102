// list asks stat what an entry is, and so takes a symlink for what it leads to.
//
// Fails: somebody has put a symlink to /home at k; list goes through all that is there, and lists
// it as keys. One that leads to a directory above it makes it go round until the kernel refuses.
//
// Fix: AT_SYMLINK_NOFOLLOW, O_NOFOLLOW. That is what SimpleStore does.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

class ListFollowsSymlinks : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Kind> kind_of_entry(int directory, const std::string& name) override {
    struct stat status;
    if (fstatat(directory, name.c_str(), &status, 0) != 0) {
      if (errno == ENOENT) return Kind::kAbsent;
      return failure(errno, "fstatat", name);
    }
    if (S_ISREG(status.st_mode)) return Kind::kObject;
    return S_ISDIR(status.st_mode) ? Kind::kDirectory : Kind::kOther;
  }
  Result<std::optional<Place>> find_listed_directory(std::string_view path) override {
    return find_place_through_symlinks(root(), path);
  }
};

const harness::RegisterStore bad{{.name = "list-follows-symlinks",
                                  .good = false,
                                  .description = "list goes through symlinks to directories",
                                  .open = &open_store<ListFollowsSymlinks>}};
const harness::RegisterStore fixed{{.name = "list-follows-symlinks-fixed",
                                    .good = true,
                                    .description = "list passes over symlinks",
                                    .open = &open_store<SimpleStore>}};

}  // namespace
}  // namespace crashgate::known_bugs
