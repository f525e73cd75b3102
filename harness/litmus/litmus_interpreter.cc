#include "harness/litmus/litmus_interpreter.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace crashgate::harness {
namespace {

constexpr std::string_view kHeld = "@";
constexpr unsigned kAllFlags =
    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

int result_of(long result) {
  return result < 0 ? errno : 0;
}

int write_all(int fd, const Step& step) {
  const std::string bytes(step.length, step.fill);
  const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(step.offset));
  if (written < 0) return errno;
  return static_cast<std::uint64_t>(written) == step.length ? 0 : ENOSPC;
}

int store(int fd, const Step& step) {
  constexpr std::uint64_t kPage = 4096;
  const std::uint64_t begin = step.offset / kPage * kPage;
  const std::uint64_t length = step.offset + step.length - begin;
  void* memory =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(begin));
  if (memory == MAP_FAILED) return errno;
  std::memset(static_cast<char*>(memory) + (step.offset - begin), step.fill, step.length);
  const int result = result_of(::msync(memory, length, MS_SYNC));
  ::munmap(memory, length);
  return result;
}

}  // namespace

UniqueFd LitmusInterpreter::open(const std::string& path, int flags) const {
  return UniqueFd(path == kHeld ? ::dup(held_.get()) : ::open(path.c_str(), flags | O_CLOEXEC));
}

int LitmusInterpreter::perform(const Step& step) {
  const char* path = step.path.c_str();
  const char* path2 = step.path2.c_str();
  const auto offset = static_cast<off_t>(step.offset);
  const auto length = static_cast<off_t>(step.length);
  const auto with = [&](int flags, auto call) {
    const UniqueFd fd = open(step.path, flags);
    return fd ? call(fd.get()) : errno;
  };
  switch (step.kind) {
    case StepKind::kCreate:
      return UniqueFd(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) ? 0 : errno;
    case StepKind::kCreateUnnamed:
      held_ = UniqueFd(::open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0644));
      return held_ ? 0 : errno;
    case StepKind::kHold:
      held_ = UniqueFd(::open(path, O_RDWR | O_CLOEXEC));
      return held_ ? 0 : errno;
    case StepKind::kMakeDirectory:
      return result_of(::mkdir(path, 0755));
    case StepKind::kSymlink:
      return result_of(::symlink(path, path2));
    case StepKind::kLink:
      return result_of(step.path == kHeld
                           ? ::linkat(held_.get(), "", AT_FDCWD, path2, AT_EMPTY_PATH)
                           : ::link(path, path2));
    case StepKind::kRename:
      return result_of(::rename(path, path2));
    case StepKind::kExchange:
      return result_of(::renameat2(AT_FDCWD, path, AT_FDCWD, path2, RENAME_EXCHANGE));
    case StepKind::kUnlink:
      return result_of(::unlink(path));
    case StepKind::kRemoveDirectory:
      return result_of(::rmdir(path));
    case StepKind::kWrite:
      return with(O_WRONLY, [&](int fd) { return write_all(fd, step); });
    case StepKind::kWriteDsync:
      return with(O_WRONLY | O_DSYNC, [&](int fd) { return write_all(fd, step); });
    case StepKind::kWriteSync:
      return with(O_WRONLY | O_SYNC, [&](int fd) { return write_all(fd, step); });
    case StepKind::kStore:
      return with(O_RDWR, [&](int fd) { return store(fd, step); });
    case StepKind::kTruncate:
      return with(O_WRONLY, [&](int fd) { return result_of(::ftruncate(fd, length)); });
    case StepKind::kEmpty:
      return with(O_WRONLY | O_TRUNC, [](int) { return 0; });
    case StepKind::kPunch:
      return with(O_WRONLY, [&](int fd) {
        return result_of(
            ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
      });
    case StepKind::kPreallocate:
      return with(O_WRONLY, [&](int fd) { return result_of(::fallocate(fd, 0, offset, length)); });
    case StepKind::kChangeMode:
      return result_of(::chmod(path, static_cast<mode_t>(step.length)));
    case StepKind::kSetAttribute:
      return result_of(::setxattr(path, "user.litmus", "new", 3, 0));
    case StepKind::kFsync:
      return with(O_RDONLY, [](int fd) { return result_of(::fsync(fd)); });
    case StepKind::kFdatasync:
      return with(O_RDONLY, [](int fd) { return result_of(::fdatasync(fd)); });
    case StepKind::kSyncFileSystem:
      return with(O_RDONLY, [](int fd) { return result_of(::syncfs(fd)); });
    case StepKind::kSyncFileRange:
      return with(O_RDONLY,
                  [](int fd) { return result_of(::sync_file_range(fd, 0, 0, kAllFlags)); });
  }
  return EINVAL;
}

void LitmusInterpreter::write_back(const Step& step) const {
  const bool names_two = step.kind == StepKind::kRename || step.kind == StepKind::kExchange ||
                         step.kind == StepKind::kLink;
  const UniqueFd fd = open(names_two ? step.path2 : step.path, O_RDONLY | O_NOFOLLOW);
  if (fd) (void)::sync_file_range(fd.get(), 0, 0, kAllFlags);
}

void commit_transaction() {
  const UniqueFd directory(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::uint64_t transaction = 0;
  if (::ioctl(directory.get(), BTRFS_IOC_START_SYNC, &transaction) == 0)
    (void)::ioctl(directory.get(), BTRFS_IOC_WAIT_SYNC, &transaction);
}

int act_as_neighbour() {
  constexpr std::string_view kLine =
      "a neighbour's line of its own....................................";
  const UniqueFd fd(::open(kNeighbourFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd || ::write(fd.get(), kLine.data(), kLine.size()) < 0) return errno;
  return result_of(::fsync(fd.get()));
}

}  // namespace crashgate::harness
