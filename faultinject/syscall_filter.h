// The seccomp filter under which a recorded program runs: it stops for its tracer at the system
// calls that may change a tree, force it to disk or move bytes to standard output, and at no other.
// Reads, stat, close, dup, futex and so on run at full speed.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

namespace crashgate::faultinject {

/// What SECCOMP_RET_TRACE carries to the tracer (PTRACE_GETEVENTMSG).
enum class FilterMark : std::uint16_t {
  kCall = 1,     // a call to look at
  kForeign = 2,  // a call of another architecture: 32-bit, or x32
};

/// Calls that are no rows of the syscall table: they change no file, but the recorder has to see
/// them.
inline constexpr long kMprotect = 10;
inline constexpr long kPkeyMprotect = 329;
inline constexpr long kIoDestroy = 207;
inline constexpr long kTee = 276;
inline constexpr long kVmsplice = 278;

/// io_uring_setup gets ENOSYS, so that programs fall back to what the recorder sees.
std::vector<sock_filter> syscall_filter();
/// Only that: stops at no call.
std::vector<sock_filter> refuse_io_uring();

/// Installs `filter` for the calling process and all that it becomes or starts. Without the
/// privilege to do so it gives up gaining any (no_new_privs): set-user-ID programs then run as the
/// caller. Async-signal-safe. Returns 0 or an errno.
int install_syscall_filter(const std::vector<sock_filter>& filter);

}  // namespace crashgate::faultinject
