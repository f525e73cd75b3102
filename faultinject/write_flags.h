// What the flags of an open file and of one write to it say of that write.
#pragma once

#include <fcntl.h>
#include <linux/fs.h>

#include <cstdint>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

/// linux/fs.h of Linux 6.9; older headers lack it.
inline constexpr std::uint64_t kNoAppend = 0x20;  // RWF_NOAPPEND

inline WriteSync sync_of(int open_flags, std::uint64_t call_flags = 0) {
  if ((open_flags & O_SYNC) == O_SYNC || (call_flags & RWF_SYNC)) return WriteSync::kFile;
  if ((open_flags & O_DSYNC) || (call_flags & RWF_DSYNC)) return WriteSync::kData;
  return WriteSync::kNone;
}

inline bool is_append(int open_flags, std::uint64_t call_flags) {
  return ((open_flags & O_APPEND) != 0 && (call_flags & kNoAppend) == 0) ||
         (call_flags & RWF_APPEND) != 0;
}

}  // namespace crashgate::faultinject
