// Mounting by the new calls of the kernel (fsopen(2) and so on): they tell an option that nobody
// knows from a file system that cannot be mounted, and say in words what was wrong.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include "harness/disk/file_system.h"
#include "store/system_call.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

/// Options that are the mount's, not the file system's: mount_setattr(2).
struct MountAttribute {
  std::string_view option;
  unsigned value;
};
constexpr MountAttribute kMountAttributes[] = {
    {"nosuid", MOUNT_ATTR_NOSUID},         {"nodev", MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC},         {"relatime", MOUNT_ATTR_RELATIME},
    {"noatime", MOUNT_ATTR_NOATIME},       {"strictatime", MOUNT_ATTR_STRICTATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME},
};

/// What the kernel has to say of a failure: "bad option", without its "e ".
std::string kernel_words(int context) {
  std::array<char, 1024> line;
  std::string words;
  for (;;) {
    const auto count = ::read(context, line.data(), line.size());
    if (count <= 2) break;
    if (line[0] != 'e' && line[0] != 'w') continue;
    words += (words.empty() ? ": " : "; ");
    words.append(line.data() + 2, static_cast<std::size_t>(count) - 2);
    while (words.ends_with('\n')) words.pop_back();
  }
  return words;
}

/// "sleep (process 123)": one that has a file or a working directory there. Empty: none is seen.
std::string user_of(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto leads_there = [&](const fs::path& link) {
    const std::string target = fs::read_symlink(link, error).string();
    return target == directory || target.starts_with(directory + "/");
  };
  for (fs::directory_iterator at("/proc", error), end; at != end; at.increment(error)) {
    const fs::path process = at->path();
    const std::string name = process.filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    bool uses = leads_there(process / "cwd") || leads_there(process / "root") ||
                leads_there(process / "exe");
    for (fs::directory_iterator file(process / "fd", error); !uses && file != end;
         file.increment(error)) {
      uses = leads_there(file->path());
    }
    if (!uses) continue;
    std::string program;
    std::getline(std::ifstream(process / "comm") >> std::ws, program);
    return program + " (process " + name + ")";
  }
  return "";
}

}  // namespace

Result<Mount> Mount::create(const FileSystemChoice& choice, const std::string& device,
                            const std::string& directory) {
  const std::string name(choice.file_system->name);
  const UniqueFd context(::fsopen(name.c_str(), FSOPEN_CLOEXEC));
  if (!context) return failure(errno, "fsopen", name);
  if (::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", device.c_str(), 0) != 0)
    return failure(errno, "mount " + name, device);

  unsigned attributes = 0;
  const auto set_option = [&](std::string_view option) {
    const auto* const attribute =
        std::ranges::find(kMountAttributes, option, &MountAttribute::option);
    if (attribute != std::end(kMountAttributes)) {
      attributes |= attribute->value;
      return true;
    }
    const auto equals = option.find('=');
    const std::string key(option.substr(0, equals));
    if (equals == std::string_view::npos)
      return ::fsconfig(context.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0) == 0;
    const std::string value(option.substr(equals + 1));
    return ::fsconfig(context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0) == 0;
  };
  for (std::string_view rest :
       {choice.file_system->mount_options, std::string_view(choice.mount_options)}) {
    while (!rest.empty()) {
      const auto comma = std::min(rest.find(','), rest.size());
      const std::string_view option = rest.substr(0, comma);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      if (option.empty() || option == "defaults" || set_option(option)) continue;
      const int reason = errno;
      return failure(ErrorCode::kInvalidArgument, reason,
                     "mount option " + std::string(option) + kernel_words(context.get()), name);
    }
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    const int reason = errno;
    return failure(reason == EINVAL ? ErrorCode::kInvalidArgument : ErrorCode::kIo, reason,
                   "mount " + to_string(choice) + kernel_words(context.get()), device);
  }
  const UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount) return failure(errno, "fsmount", device);
  if (::move_mount(mount.get(), "", AT_FDCWD, directory.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return failure(errno, "move_mount", directory);
  return Mount(directory);
}

Mount::Mount(Mount&& other) noexcept : directory_(std::exchange(other.directory_, {})) {}

Mount& Mount::operator=(Mount&& other) noexcept {
  if (this != &other) {
    Mount old(std::move(*this));
    directory_ = std::exchange(other.directory_, {});
  }
  return *this;
}

Mount::~Mount() {
  if (directory_.empty() || unmount()) return;
  // Somebody holds on to it. It goes when they do; at least no name leads there any more.
  ::umount2(directory_.c_str(), MNT_DETACH);
}

Result<void> Mount::unmount() {
  // Not MNT_DETACH: that comes back while the disk is still in use. What was killed a moment ago
  // may still be letting go of its files (a process that nobody waits for, an io_uring, whose end
  // the kernel leaves to a worker thread): hence several tries. Who is alive keeps it busy.
  constexpr int kTries = 12;
  for (int attempt = 0;; ++attempt) {
    if (::umount2(directory_.c_str(), UMOUNT_NOFOLLOW) == 0) {
      directory_.clear();
      return {};
    }
    if (errno != EBUSY || attempt == kTries) break;
    const timespec pause{0, 100'000L << attempt};  // 0.1 ms to 0.2 s, 0.4 s in all
    ::nanosleep(&pause, nullptr);
  }
  if (errno != EBUSY) return failure(errno, "unmount", directory_);
  const std::string user = user_of(directory_);
  return failure(EBUSY, "unmount: " + (user.empty() ? "somebody" : user) + " still uses it",
                 directory_);
}

Result<void> enter_mount_namespace() {
  if (::unshare(CLONE_NEWNS) != 0) return failure(errno, "unshare mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failure(errno, "make mounts private");
  return {};
}

}  // namespace crashgate::harness
