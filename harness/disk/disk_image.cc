#include "harness/disk/disk_image.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "harness/disk/data_ranges.h"
#include "store/system_call.h"

namespace crashgate::harness {

Result<DiskImage> DiskImage::create(std::uint64_t size_bytes) {
  UniqueFd file(::memfd_create("crashgate-disk", MFD_CLOEXEC));
  if (!file) return failure(errno, "memfd_create");
  if (::ftruncate(file.get(), static_cast<off_t>(size_bytes)) != 0)
    return failure(errno, "ftruncate", "disk image");
  return DiskImage(std::move(file), size_bytes);
}

Result<DiskImage> DiskImage::load(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0)
    return failure(ErrorCode::kInvalidArgument, errno, "open disk image", path);
  if (!S_ISREG(status.st_mode))
    return failure(ErrorCode::kInvalidArgument, 0, "not a file that could be a disk image", path);
  auto image = create(static_cast<std::uint64_t>(status.st_size));
  if (!image) return image;
  if (auto copied = copy_data(file.get(), image->fd()); !copied)
    return tl::unexpected(std::move(copied.error()));
  return image;
}

Result<DiskImage> DiskImage::copy() const {
  auto image = create(size_bytes_);
  if (!image) return image;
  if (auto copied = copy_data(fd(), image->fd()); !copied)
    return tl::unexpected(std::move(copied.error()));
  return image;
}

Result<void> DiskImage::save(const std::string& path) const {
  std::string temporary = path + ".XXXXXX";
  const UniqueFd file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) return failure(errno, "make a temporary file beside", path);
  Result<void> saved;
  if (::ftruncate(file.get(), static_cast<off_t>(size_bytes_)) != 0) {
    saved = failure(errno, "ftruncate", temporary);
  } else {
    saved = copy_data(fd(), file.get());
  }
  if (saved && ::fsync(file.get()) != 0) saved = failure(errno, "fsync", temporary);
  if (saved && ::rename(temporary.c_str(), path.c_str()) != 0) {
    saved = failure(errno, "rename", path);
  }
  if (!saved) ::unlink(temporary.c_str());
  return saved;
}

Result<void> DiskImage::punch_zeros() {
  const auto ranges = data_ranges(fd());
  if (!ranges) return tl::unexpected(ranges.error());
  const auto punch = [&](std::uint64_t begin, std::uint64_t end) {
    return begin == end ||
           ::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                       static_cast<off_t>(end - begin)) == 0;
  };
  std::array<char, kPageBytes> page;
  for (const DataRange& range : *ranges) {
    std::uint64_t zeros = range.begin;  // [zeros, at) is to be punched
    for (std::uint64_t at = range.begin; at < range.end; at += kPageBytes) {
      const auto length = std::min(kPageBytes, range.end - at);
      const auto count = retry_interrupted(
          [&] { return ::pread(fd(), page.data(), length, static_cast<off_t>(at)); });
      if (count < 0) return failure(errno, "read", "disk image");
      if (is_zero(page.data(), static_cast<std::size_t>(count))) continue;
      if (!punch(zeros, at)) return failure(errno, "fallocate", "disk image");
      zeros = at + length;
    }
    if (zeros < range.end && !punch(zeros, range.end))
      return failure(errno, "fallocate", "disk image");
  }
  return {};
}

std::string DiskImage::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd());
}

}  // namespace crashgate::harness
