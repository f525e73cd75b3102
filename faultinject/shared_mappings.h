// The shared file mappings of the calling process, from /proc/self/maps. Async-signal-safe; no
// allocation; uses about 8 KiB of stack; makes raw system calls only.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace crashgate::faultinject {

struct SharedMapping {
  std::uint64_t start = 0;  // addresses
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // of `start` in the file
  std::uint64_t inode = 0;
  const char* path = nullptr;  // where the file was last
};

class SharedMappings {
 public:
  /// Those that touch a range of addresses.
  SharedMappings(std::uint64_t address, std::uint64_t length);
  SharedMappings(const SharedMappings&) = delete;
  SharedMappings& operator=(const SharedMappings&) = delete;
  ~SharedMappings();

  /// False: there are no more. `mapping` is good until the next call.
  bool next(SharedMapping& mapping);

 private:
  bool next_line();

  std::uint64_t start_;
  std::uint64_t end_;
  long fd_;
  char buffer_[8192];
  std::size_t line_ = 0;    // where the line begins
  std::size_t unread_ = 0;  // where the next one does
  std::size_t size_ = 0;
};

}  // namespace crashgate::faultinject
