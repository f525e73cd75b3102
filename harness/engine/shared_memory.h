// One value in memory that a process shares with the children that it forks.
#pragma once

#include <sys/mman.h>

#include <new>

namespace crashgate::harness {

/// Owner of the mapping. `Value`: lock-free atomics, or what contains nothing else.
template <typename Value>
class SharedMemory {
 public:
  SharedMemory() {
    void* memory =
        ::mmap(nullptr, sizeof(Value), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) value_ = new (memory) Value{};
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() {
    if (value_ != nullptr) ::munmap(value_, sizeof(Value));
  }
  Value* get() const { return value_; }
  Value* operator->() const { return value_; }
  /// False: there was no memory; errno says why.
  explicit operator bool() const { return value_ != nullptr; }

 private:
  Value* value_ = nullptr;
};

}  // namespace crashgate::harness
