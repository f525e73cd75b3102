#include "store/directory_entries.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "store/system_call.h"

namespace crashgate {
namespace {

auto stamps(const struct stat& status) {
  return std::make_tuple(status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
                         status.st_ctim.tv_nsec);
}

}  // namespace

Result<void> for_each_entry(int directory,
                            const std::function<Result<void>(const DirectoryEntry&)>& visit,
                            std::size_t buffer_bytes) {
  const auto buffer = std::make_unique_for_overwrite<char[]>(buffer_bytes);
  for (;;) {
    const auto filled =
        retry_interrupted([&] { return ::getdents64(directory, buffer.get(), buffer_bytes); });
    // ENOENT: the directory was removed after it was opened, and so is empty.
    if (filled == 0 || (filled < 0 && errno == ENOENT)) return {};
    if (filled < 0) return failure(errno, "getdents64");
    for (ssize_t at = 0; at < filled;) {
      // The kernel aligns each record to 8 bytes, as the allocation is.
      const auto* record = reinterpret_cast<const dirent64*>(buffer.get() + at);
      at += record->d_reclen;
      const DirectoryEntry entry{record->d_name, record->d_type};
      if (entry.name == "." || entry.name == "..") continue;
      if (auto visited = visit(entry); !visited) return visited;
    }
  }
}

// btrfs and tmpfs move a name that is replaced behind the place where a reader that has begun will
// stop (measured: up to one list in nine of a busy directory missed a key that was there all the
// time). So a directory is read again, and the result is the union, until a pass added nothing and
// the directory's stamps say that nothing changed meanwhile. The stamps alone do not do: before
// Linux 6.13 they stand still for a clock tick. After a pass that saw changes the buffer grows,
// since one getdents64 call excludes renames while it runs; what is left then is the moment between
// lseek and that call, which a name would have to hit in every pass. How many passes an idle
// directory takes does not depend on time.
Result<std::vector<DirectoryEntry>> read_entries(
    int directory, const std::function<bool(std::string_view name)>& wanted) {
  constexpr int kMaxPasses = 8;
  constexpr std::size_t kMaxBufferBytes = 1024 * 1024;
  std::vector<DirectoryEntry> entries;
  std::size_t buffer_bytes = kEntriesBufferBytes;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    struct stat before;
    struct stat after;
    if (::fstat(directory, &before) != 0) return failure(errno, "fstat");
    if (::lseek(directory, 0, SEEK_SET) != 0) return failure(errno, "lseek");
    const std::size_t known = entries.size();
    auto read = for_each_entry(
        directory,
        [&](const DirectoryEntry& entry) -> Result<void> {
          if (wanted(entry.name)) entries.push_back(entry);
          return {};
        },
        buffer_bytes);
    if (!read) return tl::unexpected(std::move(read).error());
    std::ranges::sort(entries);
    entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
    if (::fstat(directory, &after) != 0) return failure(errno, "fstat");
    const bool unchanged = stamps(before) == stamps(after);
    if (unchanged && entries.size() == known) break;
    if (!unchanged) buffer_bytes = std::min(4 * buffer_bytes, kMaxBufferBytes);
  }
  return entries;
}

}  // namespace crashgate
