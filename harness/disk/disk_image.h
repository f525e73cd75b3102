// The content of a disk, in memory and sparse: a disk of a gigabyte takes what was written to it.
#pragma once

#include <cstdint>
#include <string>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

/// Owner of a memfd. Move-only.
class DiskImage {
 public:
  /// All zeros.
  static Result<DiskImage> create(std::uint64_t size_bytes);
  static Result<DiskImage> load(const std::string& path);

  Result<DiskImage> copy() const;
  /// A sparse file, mode 0600; replaces an older one whole or not at all.
  Result<void> save(const std::string& path) const;
  /// Gives back the memory of pages that hold zeros only.
  Result<void> punch_zeros();

  int fd() const { return fd_.get(); }
  std::uint64_t size_bytes() const { return size_bytes_; }
  /// For programs that are run: "/proc/PID/fd/N" of this process.
  std::string path() const;

 private:
  DiskImage(UniqueFd fd, std::uint64_t size_bytes) : fd_(std::move(fd)), size_bytes_(size_bytes) {}

  UniqueFd fd_;
  std::uint64_t size_bytes_;
};

}  // namespace crashgate::harness
