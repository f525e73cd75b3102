#include "faultinject/tracee.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace crashgate::faultinject {
namespace {

constexpr unsigned kPidfdThread = O_EXCL;  // PIDFD_THREAD, Linux 6.9

/// A line of /proc/TID/fdinfo/N: "pos:\t0", "flags:\t0100002".
std::optional<std::uint64_t> fdinfo(const std::string& path, const char* key, int base) {
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) {
    throw_if_exhausted();
    return std::nullopt;
  }
  std::optional<std::uint64_t> value;
  char line[256];
  while (!value && std::fgets(line, sizeof line, file) != nullptr) {
    const std::size_t length = std::strlen(key);
    if (std::strncmp(line, key, length) == 0) value = std::strtoull(line + length, nullptr, base);
  }
  std::fclose(file);
  return value;
}

}  // namespace

std::string Tracee::proc_path(const char* below) const {
  return "/proc/" + std::to_string(thread_) + "/" + below;
}

std::optional<OpenFile> Tracee::open_file(int number) {
  OpenFile file;
  if (can_duplicate_) {
    if (!pidfd_) {
      pidfd_.reset(static_cast<int>(syscall(SYS_pidfd_open, thread_, kPidfdThread)));
      // An older kernel knows processes only: their threads share one descriptor table, but for
      // those that took care not to.
      if (!pidfd_) pidfd_.reset(static_cast<int>(syscall(SYS_pidfd_open, process_, 0)));
    }
    file.fd.reset(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd_.get(), number, 0)));
    if (!file.fd && errno == EBADF && pidfd_) return std::nullopt;
    if (!file.fd) throw_if_exhausted();
    file.duplicate = static_cast<bool>(file.fd);
    can_duplicate_ = file.duplicate;
  }
  if (!file.fd) {
    const std::string path = proc_path("fd/") + std::to_string(number);
    file.fd.reset(open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!file.fd) {
      throw_if_exhausted();
      return std::nullopt;
    }
  }
  if (fstat(file.fd.get(), &file.status) != 0) return std::nullopt;
  file.flags =
      file.duplicate
          ? fcntl(file.fd.get(), F_GETFL)
          : static_cast<int>(
                fdinfo(proc_path("fdinfo/") + std::to_string(number), "flags:", 8).value_or(0));
  return file;
}

std::optional<std::uint64_t> Tracee::position(int number, const OpenFile& file) const {
  if (!file.duplicate) {
    return fdinfo(proc_path("fdinfo/") + std::to_string(number), "pos:", 10);
  }
  const off_t offset = lseek(file.fd.get(), 0, SEEK_CUR);
  if (offset < 0) return std::nullopt;
  return static_cast<std::uint64_t>(offset);
}

bool Tracee::read_memory(std::uint64_t address, void* to, std::size_t size) const {
  auto* next = static_cast<char*>(to);
  while (size > 0) {
    iovec local = {next, size};
    iovec remote = {reinterpret_cast<void*>(address), size};
    const ssize_t count = process_vm_readv(thread_, &local, 1, &remote, 1, 0);
    if (count <= 0) return false;
    next += count;
    address += static_cast<std::uint64_t>(count);
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<std::string> Tracee::read_string(std::uint64_t address) const {
  // No read crosses a page, since the next one may not be there.
  constexpr std::uint64_t kPage = 4096;
  constexpr std::size_t kFirst = 256;
  std::string text;
  while (text.size() < PATH_MAX) {
    char part[kPage];
    const std::size_t size =
        std::min<std::uint64_t>(kPage - address % kPage, text.empty() ? kFirst : kPage);
    if (!read_memory(address, part, size)) return std::nullopt;
    const void* end = std::memchr(part, '\0', size);
    if (end != nullptr) {
      text.append(part, static_cast<std::size_t>(static_cast<const char*>(end) - part));
      return text;
    }
    text.append(part, size);
    address += size;
  }
  return std::nullopt;
}

}  // namespace crashgate::faultinject
