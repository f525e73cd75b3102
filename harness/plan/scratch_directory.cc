#include "harness/plan/scratch_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "store/directory_entries.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr long kTmpfsMagic = 0x01021994;

std::string parent_for_scratch() {
  if (const char* chosen = ::getenv("CRASHGATE_TMPDIR"); chosen != nullptr && *chosen != '\0')
    return chosen;
  struct statfs info;
  if (::statfs("/dev/shm", &info) == 0 && info.f_type == kTmpfsMagic &&
      ::access("/dev/shm", W_OK | X_OK) == 0) {
    return "/dev/shm";
  }
  const char* chosen = ::getenv("TMPDIR");
  return chosen != nullptr && *chosen != '\0' ? chosen : "/tmp";
}

// Directories deeper than this are closed while what is below them is removed.
constexpr int kOpenDirectories = 64;

// Opens the directory above `below` again; where it was moved meanwhile, it stays closed.
int reopen_above(const UniqueFd& below, const struct stat& expected, UniqueFd& above) {
  struct stat found;
  UniqueFd opened(::openat(below.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fstat(opened.get(), &found) != 0) return errno;
  if (found.st_ino != expected.st_ino || found.st_dev != expected.st_dev) return ESTALE;
  above = std::move(opened);
  return 0;
}

// Removes an entry and all below it; answers with an errno, 0 where it is gone. `directory_likely`:
// what to try first. Directories whose modes keep us out are given others. `owner`: of the parent,
// where it may be closed and opened again.
int remove_at(int parent, const char* name, bool directory_likely, UniqueFd* owner = nullptr,
              int depth = 0) {
  const auto absent = [](int error) { return error == ENOENT ? 0 : error; };
  if (!directory_likely) {
    if (::unlinkat(parent, name, 0) == 0) return 0;
    if (errno != EISDIR) return absent(errno);
  }
  std::vector<DirectoryEntry> entries;
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd directory(::openat(parent, name, kFlags));
  if (!directory && (errno == ENOTDIR || errno == ELOOP))
    return ::unlinkat(parent, name, 0) == 0 ? 0 : absent(errno);
  if (!directory && errno == EACCES &&
      ::fchmodat(parent, name, S_IRWXU, AT_SYMLINK_NOFOLLOW) == 0) {
    directory = UniqueFd(::openat(parent, name, kFlags));
  }
  if (!directory) return absent(errno);
  const auto read = for_each_entry(
      directory.get(),
      [&](const DirectoryEntry& entry) -> Result<void> {
        entries.push_back(entry);
        return {};
      },
      4096);
  if (!read) return read.error().errno_value;
  struct stat above;
  const bool closes_parent = depth > kOpenDirectories && ::fstat(parent, &above) == 0;
  if (closes_parent) *owner = UniqueFd();
  int first_failure = 0;
  for (const auto& entry : entries) {
    const auto remove_it = [&] {
      return remove_at(directory.get(), entry.name.c_str(), entry.type == DT_DIR, &directory,
                       depth + 1);
    };
    int failed = remove_it();
    if (failed == EACCES && ::fchmod(directory.get(), S_IRWXU) == 0) failed = remove_it();
    if (first_failure == 0) first_failure = failed;
  }
  if (closes_parent) {
    if (const int failed = reopen_above(directory, above, *owner); failed != 0) return failed;
    parent = owner->get();
  }
  if (first_failure != 0) return first_failure;
  return ::unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : absent(errno);
}

constexpr std::string_view kPrefix = "crashgate-";
constexpr std::size_t kRandomCharacters = 6;  // mkdtemp(3)

bool is_scratch_name(std::string_view name) {
  return name.size() == kPrefix.size() + kRandomCharacters && name.starts_with(kPrefix) &&
         std::ranges::all_of(name.substr(kPrefix.size()),
                             [](unsigned char c) { return std::isalnum(c) != 0; });
}

// The directory, locked; empty where it is gone, or somebody else has the lock.
UniqueFd lock_directory(int parent, const char* name) {
  UniqueFd directory(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info;
  const bool is_ours = directory && ::fstat(directory.get(), &info) == 0 &&
                       info.st_uid == ::geteuid() &&
                       ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0 &&
                       // Removed between open and lock?
                       ::fstat(directory.get(), &info) == 0 && info.st_nlink > 0;
  return is_ours ? std::move(directory) : UniqueFd();
}

void remove_abandoned(const std::string& parent) {
  const UniqueFd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return;
  std::vector<std::string> names;
  const auto read = for_each_entry(
      directory.get(),
      [&](const DirectoryEntry& entry) -> Result<void> {
        if (is_scratch_name(entry.name)) names.push_back(entry.name);
        return {};
      },
      4096);
  if (!read) return;
  for (const auto& name : names) {
    // What cannot be removed waits for the next who tries.
    if (const auto lock = lock_directory(directory.get(), name.c_str()))
      (void)remove_at(directory.get(), name.c_str(), true);
  }
}

}  // namespace

Result<ScratchDirectory> ScratchDirectory::create() {
  const auto parent = parent_for_scratch();
  remove_abandoned(parent);
  // Somebody who looks for what is abandoned may find it before it has its lock.
  constexpr int kMostTries = 100;
  for (int tries = 0;; ++tries) {
    auto made = create_in(parent);
    if (!made) return made;
    made->lock_ = lock_directory(AT_FDCWD, made->path_.c_str());
    if (made->lock_ || tries == kMostTries) return made;
  }
}

Result<ScratchDirectory> ScratchDirectory::create_in(const std::string& parent) {
  std::string path = parent + "/crashgate-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr)
    return tl::unexpected(error_from_errno(errno, "make a scratch directory: mkdtemp", path));
  return ScratchDirectory(std::move(path), ::getpid());
}

ScratchDirectory::ScratchDirectory(ScratchDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})), owner_(other.owner_), lock_(std::move(other.lock_)) {}

ScratchDirectory& ScratchDirectory::operator=(ScratchDirectory&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(owner_, other.owner_);
  std::swap(lock_, other.lock_);
  return *this;
}

ScratchDirectory::~ScratchDirectory() {
  // Nothing can be done about what cannot be removed, and a destructor has nobody to tell.
  if (!path_.empty() && owner_ == ::getpid()) (void)remove_tree(path_);
}

int remove_entry(int directory, const char* name) {
  return remove_at(directory, name, false);
}

Result<void> remove_tree(const std::string& path) {
  // A process that is being killed may still make an entry behind our back: then once more.
  int failed = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    failed = remove_at(AT_FDCWD, path.c_str(), true);
    if (failed == 0) return {};
  }
  return tl::unexpected(error_from_errno(failed, "remove", path));
}

Result<void> copy_tree(const std::string& from, const std::string& to) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directory(to, from, error);
  for (fs::recursive_directory_iterator entry(from, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto target = fs::path(to) / entry->path().lexically_relative(from);
    const auto type = entry->symlink_status(error).type();
    if (type == fs::file_type::directory)
      fs::create_directory(target, entry->path(), error);
    else if (type == fs::file_type::regular || type == fs::file_type::symlink)
      fs::copy(entry->path(), target, fs::copy_options::copy_symlinks, error);
    if (error) break;
  }
  if (error) return tl::unexpected(error_from_errno(error.value(), "copy", from));
  return {};
}

}  // namespace crashgate::harness
