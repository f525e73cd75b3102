// The steps that a store over a directory is made of, each done right: keys, the walk to a key's
// directory, reading, writing, syncing, locking, directory entries. The known-bad stores leave out
// or replace one of them.
//
// Plain libc calls only, so that a preloaded shim sees every one. EINTR is retried, except on
// fsync: after a failed fsync nothing is known, so it is an error. Not thread-safe per descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate::known_bugs {

/// The store's own directory inside the root: temporaries and locks. No key can name it.
inline constexpr std::string_view kReserved = ".simple";

/// Calls `call` again for as long as a signal interrupts it.
template <typename Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

/// The error of a failed system call. Never kNotFound or kAlreadyExists: those two are answers
/// about an object, given only by whoever knows that the call was about the object.
tl::unexpected<Error> failure(int errno_value, std::string_view call, std::string_view key);
tl::unexpected<Error> answer(ErrorCode code, std::string_view key);

/// Where a key lives: its directory, open, and its last component.
struct Place {
  UniqueFd directory;
  std::string name;
  std::string key;
};

Result<void> check_key(std::string_view key);
/// The place of a key. Empty where an ancestor is missing or is not a directory: no object can be
/// there.
Result<std::optional<Place>> find_place(int root, std::string_view key);
/// The place of a key, its ancestors created where missing. On return the name of every ancestor is
/// durable, whoever created it. kConflict where an ancestor is an object.
Result<Place> make_place(int root, std::string_view key);
/// The same, but nothing is synced.
Result<Place> make_place_unsynced(int root, std::string_view key);

/// As find_place and make_place, but a symlink to a directory is as good as a directory.
Result<std::optional<Place>> find_place_through_symlinks(int root, std::string_view key);
Result<Place> make_place_through_symlinks(int root, std::string_view key);

enum class Kind { kAbsent, kObject, kDirectory, kOther };
/// What stands under `name`. Only ENOENT means absent; what cannot be found out is an error.
Result<Kind> kind_at(int directory, const std::string& name, std::string_view key);
/// Whether `name` still refers to the file that `fd` has open.
Result<bool> still_named(int directory, const std::string& name, int fd);

Result<void> write_all(int fd, std::string_view payload, std::string_view key);
/// fsync, once.
Result<void> sync_fd(int fd, std::string_view key);
/// Exactly `length` bytes from `offset`; a file that ends before is an error.
Result<std::string> read_exactly(int fd, std::uint64_t offset, std::uint64_t length,
                                 std::string_view key);
/// Bytes in the open file.
Result<std::uint64_t> size_of(int fd, std::string_view key);

Result<UniqueFd> open_directory_at(int directory, const std::string& name);
/// Every name in a directory but "." and "..", read through a descriptor of its own.
Result<std::vector<std::string>> names_in(int directory);
/// 128 random bits in hexadecimal.
Result<std::string> random_name();

}  // namespace crashgate::known_bugs
