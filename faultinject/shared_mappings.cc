#include "faultinject/shared_mappings.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include <cstring>

#include "faultinject/raw_syscall.h"

namespace crashgate::faultinject {
namespace {

/// Digits from `text` on, which then stands behind the character that ends them.
std::uint64_t take_number(const char*& text, unsigned base) {
  std::uint64_t number = 0;
  for (;; ++text) {
    unsigned digit = base;
    if (*text >= '0' && *text <= '9') digit = static_cast<unsigned>(*text - '0');
    if (*text >= 'a' && *text <= 'f') digit = static_cast<unsigned>(*text - 'a') + 10;
    if (digit >= base) break;
    number = number * base + digit;
  }
  if (*text != '\0') ++text;
  return number;
}

}  // namespace

SharedMappings::SharedMappings(std::uint64_t address, std::uint64_t length)
    : start_(address),
      end_(address + length),
      fd_(raw_syscall(SYS_open,
                      {reinterpret_cast<long>("/proc/self/maps"), O_RDONLY | O_CLOEXEC})) {}

SharedMappings::~SharedMappings() {
  if (!is_error(fd_)) raw_syscall(SYS_close, {fd_});
}

bool SharedMappings::next_line() {
  while (true) {
    line_ = unread_;
    if (auto* end = static_cast<char*>(std::memchr(buffer_ + line_, '\n', size_ - line_))) {
      *end = '\0';
      unread_ = static_cast<std::size_t>(end - buffer_) + 1;
      return true;
    }
    std::memmove(buffer_, buffer_ + line_, size_ - line_);
    size_ -= line_;
    unread_ = 0;
    const long got = raw_syscall(SYS_read, {fd_, reinterpret_cast<long>(buffer_ + size_),
                                            static_cast<long>(sizeof buffer_ - size_)});
    if (got <= 0) return false;
    size_ += static_cast<std::size_t>(got);
  }
}

// start-end perms offset major:minor inode    path
bool SharedMappings::next(SharedMapping& mapping) {
  if (is_error(fd_)) return false;
  while (next_line()) {
    const char* text = buffer_ + line_;
    mapping.start = take_number(text, 16);
    mapping.end = take_number(text, 16);
    const bool shared = std::strlen(text) > 4 && text[3] == 's';
    if (!shared || mapping.end <= start_ || mapping.start >= end_) continue;
    text += 5;
    mapping.offset = take_number(text, 16);
    take_number(text, 16);
    take_number(text, 16);
    mapping.inode = take_number(text, 10);
    while (*text == ' ') ++text;
    mapping.path = text;
    return true;
  }
  return false;
}

}  // namespace crashgate::faultinject
