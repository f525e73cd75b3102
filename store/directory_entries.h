// The entries of a directory, read with getdents64 itself: what libc's readdir does inside cannot
// be intercepted, and so could not be tested.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace crashgate {

/// `type` is d_type of <dirent.h>, DT_UNKNOWN where the file system does not tell.
struct DirectoryEntry {
  std::string name;
  unsigned char type = 0;

  auto operator<=>(const DirectoryEntry&) const = default;
};

inline constexpr std::size_t kEntriesBufferBytes = 32 * 1024;

/// Calls `visit` for each entry but "." and "..", in no particular order, until it returns an
/// error. `directory` is a descriptor of the caller's own, at its start. An entry that is added,
/// removed or replaced meanwhile may or may not appear.
Result<void> for_each_entry(int directory,
                            const std::function<Result<void>(const DirectoryEntry&)>& visit,
                            std::size_t buffer_bytes = kEntriesBufferBytes);

/// The entries that `wanted` accepts, sorted, those included that are replaced meanwhile (by a
/// rename). `directory` is a descriptor of the caller's own.
Result<std::vector<DirectoryEntry>> read_entries(
    int directory, const std::function<bool(std::string_view name)>& wanted);

}  // namespace crashgate
