#include "faultinject/transfer.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace crashgate::faultinject {
namespace {

constexpr std::size_t kMaxCopiedSegments = 64;

std::size_t segment_count(const Arguments& arguments, std::size_t vector_position) {
  auto vector = reinterpret_cast<const iovec*>(arguments[vector_position]);
  int count = static_cast<int>(arguments[vector_position + 1]);
  return vector == nullptr || count < 0 || count > IOV_MAX ? 0 : static_cast<std::size_t>(count);
}

/// False: the program's vector cannot be read, and the kernel will say so.
bool copy_segments(const iovec* from, std::size_t count, iovec* to) {
  const std::size_t size = count * sizeof(iovec);
  const iovec here = {to, size};
  const iovec there = {const_cast<iovec*>(from), size};
  const long copied =
      raw_syscall(SYS_process_vm_readv, {raw_syscall(SYS_getpid), reinterpret_cast<long>(&here), 1,
                                         reinterpret_cast<long>(&there), 1, 0});
  if (copied == -ENOSYS || copied == -EPERM) {  // not to be had here
    std::copy_n(from, count, to);
    return true;
  }
  return copied == static_cast<long>(size);
}

}  // namespace

std::uint64_t transfer_size(const RowInfo& row, const Arguments& arguments) {
  if (std::size_t count = find_role(row, Role::kCount); count < kMaxArguments) {
    return static_cast<std::uint64_t>(arguments[count]);
  }
  std::size_t position = find_role(row, Role::kIovec);
  if (position == kMaxArguments) return 0;
  auto vector = reinterpret_cast<const iovec*>(arguments[position]);
  const std::size_t count = segment_count(arguments, position);
  iovec copy[kMaxCopiedSegments];
  std::uint64_t total = 0;
  for (std::size_t done = 0; done < count; done += kMaxCopiedSegments) {
    const std::size_t part = std::min(count - done, kMaxCopiedSegments);
    if (!copy_segments(vector + done, part, copy)) return 0;
    for (std::size_t i = 0; i < part; ++i) total += copy[i].iov_len;
  }
  return total;
}

long transfer_at_most(const RowInfo& row, Arguments arguments, std::uint64_t limit) {
  if (std::size_t count = find_role(row, Role::kCount); count < kMaxArguments) {
    arguments[count] =
        static_cast<long>(std::min(static_cast<std::uint64_t>(arguments[count]), limit));
    return raw_syscall(row.number, arguments);
  }
  std::size_t position = find_role(row, Role::kIovec);
  if (position == kMaxArguments) return raw_syscall(row.number, arguments);
  auto vector = reinterpret_cast<const iovec*>(arguments[position]);
  std::size_t count = segment_count(arguments, position);
  iovec copy[kMaxCopiedSegments];
  std::size_t whole = 0;  // segments that fit
  for (; whole < count; ++whole) {
    const std::size_t place = whole % kMaxCopiedSegments;
    if (place == 0 &&
        !copy_segments(vector + whole, std::min(count - whole, kMaxCopiedSegments), copy)) {
      return raw_syscall(row.number, arguments);
    }
    if (copy[place].iov_len > limit) break;
    limit -= copy[place].iov_len;
  }
  if (whole == count) return raw_syscall(row.number, arguments);
  if (limit == 0 || whole >= kMaxCopiedSegments) {
    arguments[position + 1] = static_cast<long>(whole);
    return raw_syscall(row.number, arguments);
  }
  copy[whole].iov_len = limit;
  arguments[position] = reinterpret_cast<long>(copy);
  arguments[position + 1] = static_cast<long>(whole + 1);
  return raw_syscall(row.number, arguments);
}

}  // namespace crashgate::faultinject
