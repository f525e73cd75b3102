// The owner of one file descriptor: closes it at the end of its life. Not thread-safe; move-only.
// (The store has one of its own: neither library knows the other.)
#pragma once

#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace crashgate::faultinject {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

/// After a failed call: throws std::system_error if it failed for want of descriptors or memory of
/// ours, which says nothing about what was asked.
inline void throw_if_exhausted() {
  if (errno != EMFILE && errno != ENFILE && errno != ENOMEM) return;
  throw std::system_error(errno, std::generic_category());
}

}  // namespace crashgate::faultinject
