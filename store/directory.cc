#include "store/directory.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "store/key.h"
#include "store/system_call.h"

namespace crashgate {
namespace {

int flags_of(DirectoryUse use) {
  return O_DIRECTORY | O_CLOEXEC | (use == DirectoryUse::kRead ? O_RDONLY : O_PATH);
}

tl::unexpected<Error> resolution_failure(int errno_value, std::string_view call,
                                         std::string_view path) {
  switch (errno_value) {
    case ELOOP:
      return failure(ErrorCode::kInvalidKey, ELOOP, call, path);
    case ENOENT:
      return failure(ErrorCode::kNotFound, ENOENT, call, path);
    case ENOTDIR:
      return failure(ErrorCode::kConflict, ENOTDIR, call, path);
    default:
      return failure(errno_value, call, path);
  }
}

// One component without openat2. O_DIRECTORY | O_NOFOLLOW gives ENOTDIR for a symlink too, so that
// has to be looked up.
Result<UniqueFd> open_component(int base, const std::string& name, int flags) {
  UniqueFd directory(
      retry_interrupted([&] { return ::openat(base, name.c_str(), flags | O_NOFOLLOW); }));
  if (directory) return directory;
  int cause = errno;
  struct stat status;
  if (cause == ENOTDIR && ::fstatat(base, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISLNK(status.st_mode)) {
    cause = ELOOP;
  }
  return resolution_failure(cause, "openat", name);
}

Result<UniqueFd> open_by_components(int base, std::string_view path, int flags) {
  UniqueFd directory;
  while (!path.empty()) {
    const std::string name(take_component(path));
    const int wanted = path.empty() ? flags : flags_of(DirectoryUse::kResolve);
    auto next = open_component(directory ? directory.get() : base, name, wanted);
    if (!next) return next;
    directory = std::move(*next);
  }
  return directory;
}

// Opens one directory, making it where it is missing. Again where mkdirat found the name taken, and
// the object that had taken it is gone by the time of the open.
Result<UniqueFd> open_or_make(int base, const std::string& name) {
  constexpr int kAttempts = 16;
  auto directory = open_directory(base, name, DirectoryUse::kRead);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (directory || directory.error().code != ErrorCode::kNotFound) break;
    if (auto made = make_directory(base, name); !made) {
      return tl::unexpected(std::move(made).error());
    }
    directory = open_directory(base, name, DirectoryUse::kRead);
  }
  return directory;
}

}  // namespace

Result<UniqueFd> open_directory(int base, std::string_view path, DirectoryUse use) {
  const int flags = flags_of(use);
  const std::string terminated(path.empty() ? std::string_view(".") : path);
  open_how how{};
  how.flags = static_cast<unsigned>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  UniqueFd directory(static_cast<int>(retry_interrupted(
      [&] { return ::syscall(SYS_openat2, base, terminated.c_str(), &how, sizeof how); })));
  if (directory) return directory;
  if (errno == ENOSYS || errno == EPERM) return open_by_components(base, terminated, flags);
  return resolution_failure(errno, "openat2", path);
}

// mkdirat (where missing), then fsync of the directory that holds the name, from the root
// downwards. The fsync happens on every call, not only after our own mkdirat: who finds a directory
// cannot know whether its creator has synced it.
Result<UniqueFd> make_durable_directory(int root, std::string_view path) {
  auto directory = open_directory(root, {}, DirectoryUse::kRead);
  auto rest = path;
  while (directory && !rest.empty()) {
    const auto holder = path.substr(0, path.size() - rest.size());
    const std::string name(take_component(rest));
    auto child = open_or_make(directory->get(), name);
    if (!child) {
      child.error().path = path.substr(0, holder.size() + name.size());
      return child;
    }
    if (auto synced = sync_descriptor(directory->get(), holder); !synced) {
      return tl::unexpected(std::move(synced).error());
    }
    directory = std::move(child);
  }
  return directory;
}

Result<UniqueFd> open_deepest_directory(int root, std::string_view path) {
  auto directory = open_directory(root, {}, DirectoryUse::kRead);
  while (directory && !path.empty()) {
    auto child = open_directory(directory->get(), take_component(path), DirectoryUse::kRead);
    if (!child && (child.error().code == ErrorCode::kNotFound ||
                   child.error().code == ErrorCode::kConflict)) {
      break;
    }
    directory = std::move(child);
  }
  return directory;
}

Result<void> sync_descriptor(int fd, std::string_view path) {
  if (::fsync(fd) != 0) return failure(errno, "fsync", path);
  return {};
}

Result<Occupant> look_up(int directory, const std::string& name) {
  struct stat status;
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Occupant::kNothing;
    return failure(errno, "fstatat");
  }
  if (S_ISREG(status.st_mode)) return Occupant::kObject;
  return S_ISDIR(status.st_mode) ? Occupant::kDirectory : Occupant::kForeign;
}

Result<void> make_directory(int base, const std::string& name) {
  constexpr mode_t kMode = 0777;  // less the umask
  if (::mkdirat(base, name.c_str(), kMode) != 0 && errno != EEXIST) {
    return failure(errno, "mkdirat", name);
  }
  return {};
}

}  // namespace crashgate
