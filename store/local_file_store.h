// An object store over one local directory: whole payloads under keys that look like relative
// paths.
//
// Contract, for any number of threads and processes that share a root, crashes included:
//  - put and put_if_absent that return success are durable: payload, name, and the names of all
//    directories on the way from the root.
//  - A reader, or whoever opens the store after a crash, sees an old payload or a new one, whole.
//  - put_if_absent has exactly one winner between removals of a key. A loser is told AlreadyExists
//    only after the winner's name is durable.
//  - remove that returns success is durable, also where the key was absent already.
//  - get, get_range, exists and list may show an object whose writer has not returned yet, and
//    which is not durable yet.
//  - A failed call leaves the old state, but for empty directories. The one exception says so:
//    kIndeterminate means that the name was changed and its directory's fsync failed, so that
//    either state may be found after a crash.
//  - Nothing is retried on a descriptor whose fsync failed, and what it wrote is not published.
//
// Keys: 1 to 4000 bytes, any but NUL; components between slashes of 1 to 255 bytes, none of them
// "." or ".."; the first is not ".crashgate", which is the store's own. Resolution is confined to
// the root and follows no symlink: by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), and where the
// kernel lacks it, component by component with O_NOFOLLOW. A malformed key, and one that leads
// through a symlink (errno ELOOP), is InvalidKey.
//
// Directories are not objects: they appear in no list and are never removed. To put and
// put_if_absent a directory at the key, or an object on the way to it, is a Conflict; to the others
// the key is absent. A FIFO, socket, device or symlink at the key is NotAnObject to every call: it
// is not opened, followed, replaced or removed. (Nobody can keep another program from making one
// between the look and the act; the store itself makes none.)
//
// Errors carry the errno, the call that failed ("put: fsync"), and the key or the directory
// concerned, relative to the root.
//
// Thread-safe: every method may be called from any thread at once. Move-only; a moved-from store
// may only be destroyed or assigned to. Payload sizes are bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate {

/// What recover did.
struct Recovery {
  std::uint64_t removed = 0;  // temporaries of dead writers, now gone
  std::uint64_t in_use = 0;   // temporaries that a living writer holds, left alone
};

class LocalFileStore {
 public:
  /// Opens the store at `root`, creating the directory (not its parents) and the reserved
  /// `.crashgate` in it where missing. Never waits for another process. Removes nothing: call
  /// recover for that.
  static Result<LocalFileStore> open(const std::string& root);

  LocalFileStore(LocalFileStore&&) noexcept = default;
  LocalFileStore& operator=(LocalFileStore&&) noexcept = default;

  /// Stores `payload` under `key`, replacing what was there in one step.
  Result<void> put(std::string_view key, std::string_view payload) const;
  /// Stores `payload` only if nothing is there; otherwise AlreadyExists.
  Result<void> put_if_absent(std::string_view key, std::string_view payload) const;
  /// The whole payload, or NotFound.
  Result<std::string> get(std::string_view key) const;
  /// Bytes [offset, offset + length) of the payload, fewer where it ends earlier. An offset equal
  /// to the size gives an empty string; a larger one, or offset + length beyond 2^64 - 1, is
  /// OutOfRange. Reads only that range.
  Result<std::string> get_range(std::string_view key, std::uint64_t offset,
                                std::uint64_t length) const;
  /// Makes `key` absent, durably. Success also where it was absent already.
  Result<void> remove(std::string_view key) const;
  /// Whether an object is there. What cannot be found out is an error, never "no".
  Result<bool> exists(std::string_view key) const;
  /// Every key that begins with `prefix` (any string, the empty one included), sorted by bytes. A
  /// key that is added or removed meanwhile may or may not be listed; all others are.
  Result<std::vector<std::string>> list(std::string_view prefix) const;
  /// Removes what dead writers left behind; leaves what living ones, of any process or process-id
  /// namespace of this kernel, still use. May run at any time, in several processes at once, and
  /// may be killed anywhere.
  Result<Recovery> recover() const;

 private:
  LocalFileStore(UniqueFd root, UniqueFd temporaries);

  UniqueFd root_;
  UniqueFd temporaries_;
};

}  // namespace crashgate
