#include "harness/plan/tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/directory_entries.h"
#include "store/system_call.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kBufferBytes = 4096;  // roots of runs are small

unsigned char type_of(int directory, const DirectoryEntry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type;
  struct stat status;
  if (::fstatat(directory, entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return DT_UNKNOWN;
  return static_cast<unsigned char>(IFTODT(status.st_mode));
}

// `path` is that of the directory with a slash behind it, or empty for the root.
void walk(const UniqueFd& directory, const std::string& path,
          const std::function<void(const TreeEntry&)>& visit) {
  if (!directory) return;
  (void)for_each_entry(
      directory.get(),
      [&](const DirectoryEntry& entry) -> Result<void> {
        const std::string entry_path = path + entry.name;
        const auto type = type_of(directory.get(), entry);
        visit({directory.get(), entry.name, entry_path, type});
        if (type == DT_DIR) {
          walk(UniqueFd(::openat(directory.get(), entry.name.c_str(),
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)),
               entry_path + "/", visit);
        }
        return {};
      },
      kBufferBytes);
}

}  // namespace

void walk_tree(const std::string& root, const std::function<void(const TreeEntry&)>& visit) {
  walk(UniqueFd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)), "", visit);
}

std::string content_of(const TreeEntry& file) {
  const UniqueFd descriptor(
      ::openat(file.directory, file.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status;
  std::string content;
  if (!descriptor || ::fstat(descriptor.get(), &status) != 0) return content;
  content.resize(static_cast<std::size_t>(status.st_size));
  std::size_t filled = 0;
  while (filled < content.size()) {
    const auto count = retry_interrupted(
        [&] { return ::read(descriptor.get(), content.data() + filled, content.size() - filled); });
    if (count <= 0) break;
    filled += static_cast<std::size_t>(count);
  }
  content.resize(filled);
  return content;
}

}  // namespace crashgate::harness
