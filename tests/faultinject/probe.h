// Calls one function of the table with harmless arguments, as a program would, and tells what error
// it reported.
#pragma once

#include <dlfcn.h>
#include <linux/fs.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

/// The errno behind the answer of any of the table's conventions: -1 and errno, an errno, a negated
/// errno.
inline int error_in(long result) {
  if (static_cast<int>(result) == -1) return errno;
  return result < 0 ? static_cast<int>(-result) : static_cast<int>(result);
}

inline long first_argument(Row row) {
  return row == Row::k_close || row == Row::k_close_range ? -1 : 0;
}
inline long second_argument(Row row) {
  return row == Row::k_ioctl ? FICLONE : row == Row::k_close_range ? -1 : 0;
}

inline int probe_symbol(const char* name, Row row) {
  using Function = long(long, long, long, long, long, long);
  auto function = reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
  if (function == nullptr) return -1;
  errno = 0;
  long result = function(first_argument(row), second_argument(row), 0, 0, 0, 0);
  bool narrow = std::string_view(name).starts_with("posix_") || row == Row::k_io_submit;
  return error_in(narrow ? static_cast<int>(result) : result);
}

inline int probe_number(Row row) {
  errno = 0;
  return error_in(
      syscall(row_info(row).number, first_argument(row), second_argument(row), 0L, 0L, 0L, 0L));
}

}  // namespace crashgate::faultinject
