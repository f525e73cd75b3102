#include "store/recovery.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "store/directory.h"
#include "store/directory_entries.h"
#include "store/system_call.h"

namespace crashgate {
namespace {

enum class Verdict { kRemoved, kInUse, kLeftAlone };

// A writer holds the lock of its temporary for as long as it lives, from before recover can see the
// name, or else looks again at the name after it got the lock. So whoever gets the lock here knows
// that the writer is dead, or has published the file and so taken the name away, or is about to see
// that the name is gone and to start over. And the name may be unlinked after its file was locked
// because no name is ever used twice: it refers to that file, or to nothing.
Result<Verdict> remove_if_abandoned(int temporaries, const std::string& name) {
  const auto occupant = look_up(temporaries, name);
  if (!occupant) return tl::unexpected(occupant.error());
  if (*occupant != Occupant::kObject) return Verdict::kLeftAlone;
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  const UniqueFd file(
      retry_interrupted([&] { return ::openat(temporaries, name.c_str(), kFlags); }));
  if (!file) {
    if (errno == ENOENT || errno == ELOOP || errno == ENXIO) return Verdict::kLeftAlone;
    return failure(errno, "openat", name);
  }
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return failure(errno, "fstat", name);
  if (!S_ISREG(status.st_mode)) return Verdict::kLeftAlone;
  if (retry_interrupted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
    if (errno == EWOULDBLOCK) return Verdict::kInUse;
    return failure(errno, "flock", name);
  }
  if (::unlinkat(temporaries, name.c_str(), 0) != 0) {
    if (errno == ENOENT) return Verdict::kLeftAlone;
    return failure(errno, "unlinkat", name);
  }
  return Verdict::kRemoved;
}

}  // namespace

// The removals are not synced: a temporary that comes back after a crash is removed by the next
// recover.
Result<Recovery> remove_abandoned(int temporaries) {
  const auto directory = open_directory(temporaries, {}, DirectoryUse::kRead);
  if (!directory) return tl::unexpected(directory.error());
  Recovery recovery;
  std::optional<Error> first_error;
  const auto read =
      for_each_entry(directory->get(), [&](const DirectoryEntry& entry) -> Result<void> {
        const auto verdict = remove_if_abandoned(directory->get(), entry.name);
        if (!verdict) {
          if (!first_error) first_error = verdict.error();
          return {};
        }
        recovery.removed += *verdict == Verdict::kRemoved ? 1 : 0;
        recovery.in_use += *verdict == Verdict::kInUse ? 1 : 0;
        return {};
      });
  if (first_error) return tl::unexpected(std::move(*first_error));
  if (!read) return tl::unexpected(read.error());
  return recovery;
}

}  // namespace crashgate
