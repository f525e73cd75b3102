#include "faultinject/transfer.h"

#include <sys/uio.h>

#include <algorithm>
#include <climits>

namespace crashgate::faultinject {
namespace {

constexpr std::size_t kMaxCopiedSegments = 64;

std::size_t segment_count(const Arguments& arguments, std::size_t vector_position) {
  auto vector = reinterpret_cast<const iovec*>(arguments[vector_position]);
  int count = static_cast<int>(arguments[vector_position + 1]);
  return vector == nullptr || count < 0 || count > IOV_MAX ? 0 : static_cast<std::size_t>(count);
}

}  // namespace

std::uint64_t transfer_size(const RowInfo& row, const Arguments& arguments) {
  if (std::size_t count = find_role(row, Role::kCount); count < kMaxArguments) {
    return static_cast<std::uint64_t>(arguments[count]);
  }
  std::size_t position = find_role(row, Role::kIovec);
  if (position == kMaxArguments) return 0;
  auto vector = reinterpret_cast<const iovec*>(arguments[position]);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < segment_count(arguments, position); ++i) total += vector[i].iov_len;
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
  std::size_t whole = 0;  // segments that fit
  while (whole < count && vector[whole].iov_len <= limit) limit -= vector[whole++].iov_len;
  if (whole == count) return raw_syscall(row.number, arguments);
  iovec copy[kMaxCopiedSegments];
  if (limit == 0 || whole >= kMaxCopiedSegments) {
    arguments[position + 1] = static_cast<long>(whole);
    return raw_syscall(row.number, arguments);
  }
  std::copy(vector, vector + whole, copy);
  copy[whole] = {vector[whole].iov_base, limit};
  arguments[position] = reinterpret_cast<long>(copy);
  arguments[position + 1] = static_cast<long>(whole + 1);
  return raw_syscall(row.number, arguments);
}

}  // namespace crashgate::faultinject
