#include "tests/known_bugs/file_steps.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace crashgate::known_bugs {
namespace {

constexpr std::size_t kLongestKey = 4000;
constexpr std::size_t kLongestComponent = 255;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

enum class Symlinks { kRefuse, kFollow };

UniqueFd try_open_directory(int directory, const std::string& name,
                            Symlinks symlinks = Symlinks::kRefuse) {
  const int flags = kDirectoryFlags | (symlinks == Symlinks::kRefuse ? O_NOFOLLOW : 0);
  return UniqueFd(uninterrupted([&] { return openat(directory, name.c_str(), flags); }));
}

enum class Ancestors { kMustExist, kCreate, kCreateUnsynced };

// One step of the walk: opens the ancestor `name`, creating it first where that is wanted. Empty
// where there is no such directory.
Result<std::optional<UniqueFd>> enter(int directory, const std::string& name, Ancestors ancestors,
                                      Symlinks symlinks, std::string_view key) {
  UniqueFd child = try_open_directory(directory, name, symlinks);
  // Again where mkdirat found an object of that name, and the object is gone by the time of openat.
  constexpr int kAttempts = 16;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (child || errno != ENOENT || ancestors == Ancestors::kMustExist) break;
    if (mkdirat(directory, name.c_str(), 0755) != 0 && errno != EEXIST) {
      return failure(errno, "mkdirat", key);
    }
    child = try_open_directory(directory, name, symlinks);
  }
  if (child) return child;
  if (errno == ENOENT && ancestors != Ancestors::kMustExist) return failure(errno, "openat", key);
  if (errno == ENOENT) return std::nullopt;
  if (errno != ENOTDIR && errno != ELOOP) return failure(errno, "openat", key);
  struct stat status;
  if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return std::nullopt;  // the object that stood there has just been removed
    return failure(errno, "fstatat", key);
  }
  if (S_ISLNK(status.st_mode)) return answer(ErrorCode::kInvalidKey, key);
  return std::nullopt;
}

// Goes from the root to the directory of `key` component by component, with two descriptors open at
// most. Where ancestors are created, each directory is synced once the name
// of the next is in it: also where that name was there already, since whoever made it may not have
// synced it yet.
Result<std::optional<Place>> walk(int root, std::string_view key, Ancestors ancestors,
                                  Symlinks symlinks = Symlinks::kRefuse) {
  UniqueFd here = try_open_directory(root, ".");
  if (!here) return failure(errno, "openat", key);
  std::string_view rest = key;
  for (std::size_t slash = rest.find('/'); slash != rest.npos; slash = rest.find('/')) {
    auto child = enter(here.get(), std::string(rest.substr(0, slash)), ancestors, symlinks, key);
    if (!child) return tl::unexpected(child.error());
    if (!*child) return std::nullopt;
    if (ancestors == Ancestors::kCreate) {
      if (auto synced = sync_fd(here.get(), key); !synced) return tl::unexpected(synced.error());
    }
    here = std::move(**child);
    rest.remove_prefix(slash + 1);
  }
  return Place{std::move(here), std::string(rest), std::string(key)};
}

Result<Place> made(Result<std::optional<Place>> place, std::string_view key) {
  if (!place) return tl::unexpected(place.error());
  if (!*place) return answer(ErrorCode::kConflict, key);
  return std::move(**place);
}

}  // namespace

tl::unexpected<Error> failure(int errno_value, std::string_view call, std::string_view key) {
  Error error = error_from_errno(errno_value, std::string(call), std::string(key));
  if (error.code == ErrorCode::kNotFound || error.code == ErrorCode::kAlreadyExists) {
    error.code = ErrorCode::kIo;
  }
  return tl::unexpected(std::move(error));
}

tl::unexpected<Error> answer(ErrorCode code, std::string_view key) {
  return tl::unexpected(Error{code, 0, "simple store", std::string(key)});
}

Result<void> check_key(std::string_view key) {
  const auto invalid = [&] { return answer(ErrorCode::kInvalidKey, key); };
  if (key.empty() || key.size() > kLongestKey || key.find('\0') != key.npos) return invalid();
  const std::string_view first = key.substr(0, key.find('/'));
  if (first == kReserved || first == ".crashgate") return invalid();
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view component = key.substr(begin, end - begin);
    if (component.empty() || component.size() > kLongestComponent) return invalid();
    if (component == "." || component == "..") return invalid();
    begin = end + 1;
  }
  return {};
}

Result<std::optional<Place>> find_place(int root, std::string_view key) {
  return walk(root, key, Ancestors::kMustExist);
}

Result<Place> make_place(int root, std::string_view key) {
  return made(walk(root, key, Ancestors::kCreate), key);
}

Result<Place> make_place_unsynced(int root, std::string_view key) {
  return made(walk(root, key, Ancestors::kCreateUnsynced), key);
}

Result<std::optional<Place>> find_place_through_symlinks(int root, std::string_view key) {
  return walk(root, key, Ancestors::kMustExist, Symlinks::kFollow);
}

Result<Place> make_place_through_symlinks(int root, std::string_view key) {
  return made(walk(root, key, Ancestors::kCreate, Symlinks::kFollow), key);
}

Result<Kind> kind_at(int directory, const std::string& name, std::string_view key) {
  struct stat status;
  if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Kind::kAbsent;
    return failure(errno, "fstatat", key);
  }
  if (S_ISREG(status.st_mode)) return Kind::kObject;
  return S_ISDIR(status.st_mode) ? Kind::kDirectory : Kind::kOther;
}

Result<bool> still_named(int directory, const std::string& name, int fd) {
  struct stat open_file;
  struct stat named_file;
  if (fstat(fd, &open_file) != 0) return failure(errno, "fstat", name);
  if (fstatat(directory, name.c_str(), &named_file, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    return failure(errno, "fstatat", name);
  }
  return open_file.st_dev == named_file.st_dev && open_file.st_ino == named_file.st_ino;
}

Result<void> write_all(int fd, std::string_view payload, std::string_view key) {
  while (!payload.empty()) {
    const ssize_t written =
        uninterrupted([&] { return write(fd, payload.data(), payload.size()); });
    if (written < 0) return failure(errno, "write", key);
    if (written == 0) return failure(EIO, "write", key);
    payload.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> sync_fd(int fd, std::string_view key) {
  if (fsync(fd) != 0) return failure(errno, "fsync", key);
  return {};
}

Result<std::string> read_exactly(int fd, std::uint64_t offset, std::uint64_t length,
                                 std::string_view key) {
  std::string bytes(length, '\0');
  std::size_t done = 0;
  while (done < length) {
    const ssize_t got = uninterrupted([&] {
      return pread(fd, bytes.data() + done, length - done, static_cast<off_t>(offset + done));
    });
    if (got < 0) return failure(errno, "pread", key);
    if (got == 0) return failure(EIO, "pread", key);
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

Result<std::uint64_t> size_of(int fd, std::string_view key) {
  struct stat status;
  if (fstat(fd, &status) != 0) return failure(errno, "fstat", key);
  if (S_ISDIR(status.st_mode)) return answer(ErrorCode::kNotFound, key);
  if (!S_ISREG(status.st_mode)) return answer(ErrorCode::kNotAnObject, key);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<UniqueFd> open_directory_at(int directory, const std::string& name) {
  UniqueFd fd = try_open_directory(directory, name);
  if (!fd) return failure(errno, "openat", name);
  return fd;
}

Result<std::vector<std::string>> names_in(int directory) {
  auto own = open_directory_at(directory, ".");
  if (!own) return tl::unexpected(own.error());
  std::vector<std::string> names;
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    const ssize_t filled =
        uninterrupted([&] { return getdents64(own->get(), buffer.data(), buffer.size()); });
    if (filled < 0) return failure(errno, "getdents64", ".");
    if (filled == 0) return names;
    for (ssize_t at = 0; at < filled;) {
      const char* entry = buffer.data() + at;
      std::uint16_t entry_length = 0;
      std::memcpy(&entry_length, entry + offsetof(dirent64, d_reclen), sizeof entry_length);
      const char* name = entry + offsetof(dirent64, d_name);
      if (std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0) names.emplace_back(name);
      at += entry_length;
    }
  }
}

Result<std::string> random_name() {
  std::array<unsigned char, 16> bits;
  if (getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) {
    return failure(errno, "getrandom", "");
  }
  std::string name;
  for (const unsigned char byte : bits) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

}  // namespace crashgate::known_bugs
