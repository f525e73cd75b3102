// The wrappers: one function in front of libc's for each row and alias of the table.
//
// Each is defined under a private C++ name with the C library's symbol as its assembler name, so
// that no declaration in a header can clash. Functions that are variadic in C have their tail as
// ordinary parameters here, which on x86-64 receive the same registers; what the caller did not
// pass is garbage that the kernel ignores.
//
// Idle, a wrapper costs one relaxed load and an indirect call. The next definitions are looked up
// once, by a constructor, since dlsym is not async-signal-safe; before that, and for functions that
// this C library lacks, wrappers enter the kernel directly.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <type_traits>

#include "faultinject/intercept.h"

#define CRASHGATE_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" [[noreturn]] void __chk_fail();

namespace {

using crashgate::faultinject::Arguments;
using crashgate::faultinject::intercept;
using crashgate::faultinject::is_error;
using crashgate::faultinject::kLeaveToLibrary;
using crashgate::faultinject::raw_syscall;
using crashgate::faultinject::Row;
using crashgate::faultinject::shim_gate;

enum ErrorNumber : int {};   // the function returns an errno, and leaves errno alone
enum NegatedErrno : int {};  // as libaio does: -errno

template <typename T>
long as_long(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else {
    return static_cast<long>(value);
  }
}

template <typename... T>
Arguments pack(T... values) {
  return {as_long(values)...};
}

/// preadv2 and pwritev2 take the offset in two halves; the table's arguments have it whole.
Arguments for_kernel(Row row, Arguments arguments) {
  if (row == Row::k_preadv2 || row == Row::k_pwritev2) {
    arguments[5] = arguments[4];
    arguments[4] = 0;
  }
  return arguments;
}

/// The kernel's answer as the function returns it.
template <typename Result>
Result answer(long value) {
  if constexpr (std::is_void_v<Result>) {
    return;
  } else if constexpr (std::is_same_v<Result, NegatedErrno>) {
    return static_cast<NegatedErrno>(value);
  } else if constexpr (std::is_same_v<Result, ErrorNumber>) {
    return static_cast<ErrorNumber>(is_error(value) ? -value : 0);
  } else {
    if (is_error(value)) {
      errno = static_cast<int>(-value);
      value = -1;
    }
    if constexpr (std::is_pointer_v<Result>) {
      return reinterpret_cast<Result>(value);
    } else {
      return static_cast<Result>(value);
    }
  }
}

size_t checked_size(size_t size, size_t room) {
  if (size > room) __chk_fail();
  return size;
}

int checked_flags(int flags) {
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) __chk_fail();
  return flags;
}

bool idle() {
  return __builtin_expect(shim_gate.load(std::memory_order_relaxed) == 0, 1);
}

// The next definition of each function.
#define CRASHGATE_ROW(name, ...) void* next_##name = nullptr;
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW
#define CRASHGATE_ALIAS(symbol, ...) void* next_##symbol = nullptr;
#include "faultinject/syscall_aliases.def"
#undef CRASHGATE_ALIAS
void* next_remove = nullptr;
void* next_lockf = nullptr;
void* next_lutimes = nullptr;
void* next_syscall = nullptr;

__attribute__((constructor(101))) void find_next_definitions() {
#define CRASHGATE_ROW(name, ...) next_##name = dlsym(RTLD_NEXT, #name);
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW
#define CRASHGATE_ALIAS(symbol, ...) next_##symbol = dlsym(RTLD_NEXT, #symbol);
#include "faultinject/syscall_aliases.def"
#undef CRASHGATE_ALIAS
  next_remove = dlsym(RTLD_NEXT, "remove");
  next_lockf = dlsym(RTLD_NEXT, "lockf");
  next_lutimes = dlsym(RTLD_NEXT, "lutimes");
  next_syscall = dlsym(RTLD_NEXT, "syscall");
}

long row_number(Row row) {
  return crashgate::faultinject::row_info(row).number;
}

}  // namespace

#define CRASHGATE_WRAPPER(symbol, row, result, parameters, arguments, row_arguments)              \
  CRASHGATE_EXPORT result shim_##symbol parameters asm(#symbol);                                  \
  result shim_##symbol parameters {                                                               \
    using Function = result parameters;                                                           \
    if (!idle()) {                                                                                \
      long outcome = intercept(Row::k_##row, for_kernel(Row::k_##row, pack row_arguments), true); \
      if (outcome != kLeaveToLibrary) return answer<result>(outcome);                             \
    }                                                                                             \
    if (next_##symbol != nullptr) return reinterpret_cast<Function*>(next_##symbol) arguments;    \
    return answer<result>(                                                                        \
        raw_syscall(row_number(Row::k_##row), for_kernel(Row::k_##row, pack row_arguments)));     \
  }

#define CRASHGATE_ROW(name, number, result, parameters, arguments, roles, kind, point, errnos) \
  CRASHGATE_WRAPPER(name, name, result, parameters, arguments, arguments)
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW

#define CRASHGATE_ALIAS(symbol, row, result, parameters, arguments, row_arguments) \
  CRASHGATE_WRAPPER(symbol, row, result, parameters, arguments, row_arguments)
#include "faultinject/syscall_aliases.def"
#undef CRASHGATE_ALIAS

// Functions of the C library that are more than one system call, or not quite one.

CRASHGATE_EXPORT int shim_remove(const char* path) asm("remove");
int shim_remove(const char* path) {
  if (idle() && next_remove != nullptr)
    return reinterpret_cast<int (*)(const char*)>(next_remove)(path);
  int saved = errno;
  int status = shim_unlink(path);
  if (status == 0 || errno != EISDIR) return status;
  errno = saved;
  return shim_rmdir(path);
}

CRASHGATE_EXPORT int shim_lockf(int fd, int command, off_t length) asm("lockf");
int shim_lockf(int fd, int command, off_t length) {
  using Function = int(int, int, off_t);
  if (next_lockf != nullptr && (idle() || command == F_TEST)) {
    return reinterpret_cast<Function*>(next_lockf)(fd, command, length);
  }
  struct flock lock = {};
  lock.l_type = command == F_ULOCK ? F_UNLCK : F_WRLCK;
  lock.l_whence = SEEK_CUR;
  lock.l_len = length;
  return shim_fcntl(fd, command == F_LOCK ? F_SETLKW : F_SETLK, reinterpret_cast<long>(&lock));
}
CRASHGATE_EXPORT int shim_lockf64(int fd, int command, off_t length) asm("lockf64");
int shim_lockf64(int fd, int command, off_t length) {
  return shim_lockf(fd, command, length);
}

CRASHGATE_EXPORT int shim_lutimes(const char* path, const timeval* times) asm("lutimes");
int shim_lutimes(const char* path, const timeval* times) {
  using Function = int(const char*, const timeval*);
  if (next_lutimes != nullptr && idle())
    return reinterpret_cast<Function*>(next_lutimes)(path, times);
  if (times == nullptr) return shim_utimensat(AT_FDCWD, path, nullptr, AT_SYMLINK_NOFOLLOW);
  const timespec converted[2] = {{times[0].tv_sec, times[0].tv_usec * 1000},
                                 {times[1].tv_sec, times[1].tv_usec * 1000}};
  return shim_utimensat(AT_FDCWD, path, converted, AT_SYMLINK_NOFOLLOW);
}

CRASHGATE_EXPORT long shim_syscall(long number, long a, long b, long c, long d, long e,
                                   long f) asm("syscall");
long shim_syscall(long number, long a, long b, long c, long d, long e, long f) {
  using Function = long(long, long, long, long, long, long, long);
  if (!idle()) {
    if (auto row = crashgate::faultinject::find_row_by_number(number)) {
      long value = intercept(*row, {a, b, c, d, e, f}, false);
      if (value != kLeaveToLibrary) return answer<long>(value);
    }
  }
  if (next_syscall != nullptr)
    return reinterpret_cast<Function*>(next_syscall)(number, a, b, c, d, e, f);
  return answer<long>(raw_syscall(number, {a, b, c, d, e, f}));
}
