// The file systems that a disk can hold: how each is made, mounted and checked. A table, a row a
// file system.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/crash_state/persistence_model.h"
#include "harness/disk/disk_image.h"
#include "store/error.h"

namespace crashgate::harness {

struct FileSystem {
  std::string_view name;           // as in --disk, and of its persistence model
  std::string_view make_command;   // words; the image's path follows. Identities are fixed, as far
                                   // as the program lets us: new each time are times, xfs's inode
                                   // generations, and the identities of btrfs
  std::string_view mount_options;  // beside those of the user
  std::string_view check_command;  // words; changes nothing; the device's path follows
  std::string_view package;        // of Debian, that has these programs
};

std::span<const FileSystem> file_systems();  // ext4, xfs, btrfs
const FileSystem* find_file_system(std::string_view name);
const PersistenceModel& model_of(const FileSystem& file_system);
/// Its programs are not installed, or the kernel does not know it: one line. Empty: usable.
std::string why_no_file_system(const FileSystem& file_system);

/// A file system, and what the user asks of it beyond the defaults.
struct FileSystemChoice {
  const FileSystem* file_system = nullptr;
  std::vector<std::string> make_options;  // words of --mkfs-options
  std::string mount_options;              // of --mount-options, comma-separated
  std::uint64_t size_bytes = std::uint64_t{512} << 20;
};
/// "ext4", or "ext4 (mkfs -O fast_commit; mount data=journal)".
std::string to_string(const FileSystemChoice& choice);

/// A new, empty file system. InvalidArgument: mkfs does not take the options; the error has its
/// reason.
Result<DiskImage> make_file_system(const FileSystemChoice& choice);

/// The owner of one mount: unmounted at the end of its life. Move-only. In the mount namespace of
/// the calling process, which should be one of its own (enter_mount_namespace).
class Mount {
 public:
  /// InvalidArgument: the kernel does not take the options (EINVAL before any recovery cannot be
  /// told from a damaged file system; the caller knows which it is).
  static Result<Mount> create(const FileSystemChoice& choice, const std::string& device,
                              const std::string& directory);
  Mount(Mount&& other) noexcept;
  Mount& operator=(Mount&& other) noexcept;
  ~Mount();

  const std::string& directory() const { return directory_; }
  /// When it returns, the device is nobody's. An error, EBUSY above all (with the name of a process
  /// that uses it): it is still mounted, and the destructor will try again.
  Result<void> unmount();

 private:
  explicit Mount(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

/// A mount namespace of its own for the calling process (one thread), from which nothing
/// propagates.
Result<void> enter_mount_namespace();

/// Empty: sound; else the checking program's complaint, in one line. An error where it cannot be
/// run. For a file system that was unmounted: it replays no log.
Result<std::string> check_file_system(const FileSystemChoice& choice, const std::string& device);

}  // namespace crashgate::harness
