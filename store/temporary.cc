#include "store/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "store/directory.h"
#include "store/system_call.h"

namespace crashgate {
namespace {

constexpr mode_t kMode = 0666;  // less the umask
constexpr int kNameAttempts = 16;

Result<std::string> random_name() {
  std::array<unsigned char, 16> bits;
  if (retry_interrupted([&] { return ::getrandom(bits.data(), bits.size(), 0); }) !=
      static_cast<ssize_t>(bits.size())) {
    return failure(errno, "getrandom");
  }
  constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (const auto byte : bits) {
    name += kDigits[byte >> 4];
    name += kDigits[byte & 15];
  }
  return name;
}

bool lock(int file) {
  return retry_interrupted([&] { return ::flock(file, LOCK_EX | LOCK_NB); }) == 0;
}

// AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH before Linux 6.10, and says ENOENT without it; /proc does
// not, but need not be mounted.
int link_descriptor(int file, int parent, const std::string& name) {
  if (::linkat(file, "", parent, name.c_str(), AT_EMPTY_PATH) == 0) return 0;
  if (errno != ENOENT) return -1;
  const auto path = "/proc/self/fd/" + std::to_string(file);
  return ::linkat(AT_FDCWD, path.c_str(), parent, name.c_str(), AT_SYMLINK_FOLLOW);
}

tl::unexpected<Error> link_failure(int errno_value) {
  switch (errno_value) {
    case EEXIST:
      return failure(ErrorCode::kAlreadyExists, EEXIST, "linkat");
    case ENOENT:
      return failure(ErrorCode::kNotFound, ENOENT, "linkat");
    default:
      return failure(errno_value, "linkat");
  }
}

// recover may have removed the file between its creation and its lock.
bool still_named(int directory, const std::string& name, int file) {
  struct stat by_name;
  struct stat by_file;
  return ::fstat(file, &by_file) == 0 && by_file.st_nlink > 0 &&
         ::fstatat(directory, name.c_str(), &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
         by_name.st_dev == by_file.st_dev && by_name.st_ino == by_file.st_ino;
}

}  // namespace

Temporary::Temporary(Temporary&& other) noexcept
    : directory_(other.directory_),
      file_(std::move(other.file_)),
      name_(std::exchange(other.name_, {})) {}

Temporary& Temporary::operator=(Temporary&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(file_, other.file_);
  std::swap(name_, other.name_);
  return *this;
}

Temporary::~Temporary() {
  if (!name_.empty()) ::unlinkat(directory_, name_.c_str(), 0);
}

Result<Temporary> Temporary::create_unnamed(int directory) {
  UniqueFd file(retry_interrupted(
      [&] { return ::openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kMode); }));
  if (!file) {
    // What file systems and kernels without O_TMPFILE say.
    const bool unsupported =
        errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT;
    if (unsupported) return failure(ErrorCode::kNotFound, errno, "openat O_TMPFILE");
    return failure(errno, "openat O_TMPFILE");
  }
  if (!lock(file.get())) return failure(errno, "flock");
  return Temporary(directory, std::move(file));
}

Result<Temporary> Temporary::create_named(int directory) {
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    auto name = random_name();
    if (!name) return tl::unexpected(std::move(name).error());
    UniqueFd file(retry_interrupted([&] {
      return ::openat(directory, name->c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW,
                      kMode);
    }));
    if (!file && errno == EEXIST) continue;
    if (!file) return failure(errno, "openat");
    Temporary temporary(directory, std::move(file));
    temporary.name_ = std::move(*name);
    if (!lock(temporary.file_.get())) {
      if (errno == EWOULDBLOCK) continue;  // recover is at it
      return failure(errno, "flock");
    }
    if (still_named(directory, temporary.name_, temporary.file_.get())) return temporary;
  }
  return failure(EEXIST, "openat");
}

Result<void> Temporary::write(std::string_view payload) const {
  while (!payload.empty()) {
    const auto written =
        retry_interrupted([&] { return ::write(file_.get(), payload.data(), payload.size()); });
    if (written < 0) return failure(errno, "write");
    if (written == 0) return failure(EIO, "write");
    payload.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> Temporary::give_name() {
  if (!name_.empty()) return {};
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    auto name = random_name();
    if (!name) return tl::unexpected(std::move(name).error());
    if (link_descriptor(file_.get(), directory_, *name) == 0) {
      name_ = std::move(*name);
      return {};
    }
    if (errno != EEXIST) return link_failure(errno);
  }
  return failure(EEXIST, "linkat");
}

Result<void> Temporary::sync(std::size_t size) const {
  if (auto synced = sync_descriptor(file_.get()); !synced) return synced;
  struct stat status;
  if (::fstat(file_.get(), &status) != 0) return failure(errno, "fstat");
  if (static_cast<std::uint64_t>(status.st_size) != size) return failure(EIO, "fstat");
  return {};
}

Result<void> Temporary::replace(int parent, const std::string& name) {
  if (::renameat(directory_, name_.c_str(), parent, name.c_str()) != 0) {
    if (errno == EISDIR) return failure(ErrorCode::kConflict, EISDIR, "renameat");
    return failure(errno, "renameat");
  }
  name_.clear();
  return {};
}

Result<void> Temporary::publish_new(int parent, const std::string& name) {
  if (name_.empty()) {
    if (link_descriptor(file_.get(), parent, name) != 0) return link_failure(errno);
    return {};
  }
  if (::renameat2(directory_, name_.c_str(), parent, name.c_str(), RENAME_NOREPLACE) == 0) {
    name_.clear();
    return {};
  }
  if (errno == EEXIST) return failure(ErrorCode::kAlreadyExists, EEXIST, "renameat2");
  if (errno != EINVAL && errno != ENOSYS) return failure(errno, "renameat2");
  if (::linkat(directory_, name_.c_str(), parent, name.c_str(), 0) != 0) return link_failure(errno);
  return {};
}

// First choice: unnamed while it is written, so that a kill then leaves nothing. Second: under a
// name from the start.
Result<Temporary> write_temporary(int directory, std::string_view payload, Naming naming) {
  const auto persist = [&](Temporary& temporary) -> Result<void> {
    auto done = temporary.write(payload);
    if (done) done = temporary.sync(payload.size());
    if (done && naming == Naming::kNamed) done = temporary.give_name();
    return done;
  };
  auto temporary = Temporary::create_unnamed(directory);
  if (temporary) {
    auto persisted = persist(*temporary);
    if (persisted) return temporary;
    if (persisted.error().code != ErrorCode::kNotFound) {
      return tl::unexpected(std::move(persisted).error());
    }
  } else if (temporary.error().code != ErrorCode::kNotFound) {
    return temporary;
  }
  temporary = Temporary::create_named(directory);
  if (!temporary) return temporary;
  if (auto persisted = persist(*temporary); !persisted) {
    return tl::unexpected(std::move(persisted).error());
  }
  return temporary;
}

}  // namespace crashgate
