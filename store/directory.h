// Directories below the root: confined resolution, durable creation, and what stands at a name.
//
// Resolution is by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS). Where
// the kernel lacks openat2 (ENOSYS, before 5.6) or a container's seccomp profile forbids it
// (EPERM), the path is opened component by component with O_NOFOLLOW. That is decided anew on every
// call: the store keeps no state about its kernel.
//
// Every function is thread-safe. Each returned descriptor is the caller's own, never shared: an
// error of writing back is reported once to each open file description, so two threads that fsync
// the same one would share the report.
#pragma once

#include <string>
#include <string_view>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate {

/// Whether a directory is opened to be read and synced, or only to resolve names in.
enum class DirectoryUse { kRead, kResolve };

/// Opens the directory `path` (components without "." and ".."; empty: `base` itself) below `base`.
/// InvalidKey with ELOOP where a symlink is on the way, NotFound with ENOENT where a component is
/// missing, Conflict with ENOTDIR where one is no directory.
Result<UniqueFd> open_directory(int base, std::string_view path, DirectoryUse use);

/// Opens the directory `path` below `root`, creating what is missing, once the names of all its
/// components are durable, whoever created them. Errors as open_directory.
Result<UniqueFd> make_durable_directory(int root, std::string_view path);

/// Opens the deepest directory that exists on the way from `root` to `path`.
Result<UniqueFd> open_deepest_directory(int root, std::string_view path);

/// One fsync, never repeated.
Result<void> sync_descriptor(int fd, std::string_view path = {});

/// What a name in a directory refers to; a symlink is not followed.
enum class Occupant { kNothing, kObject, kDirectory, kForeign };

Result<Occupant> look_up(int directory, const std::string& name);

/// Creates one directory, which may exist already.
Result<void> make_directory(int base, const std::string& name);

}  // namespace crashgate
