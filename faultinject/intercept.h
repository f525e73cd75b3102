// The heart of the shim: what happens to one storage call while rules are armed, calls are
// recorded, or a libfiu point is enabled.
//
// intercept() is async-signal-safe, allocates nothing, leaves errno alone, and depends on no state
// of a thread, so it may run in a signal handler and in a child of vfork; it takes no lock but that
// of a recording (recording_log.h); only where a libfiu point is enabled does it call libfiu, which
// locks. Calls are made with raw system calls,
// under the row's own number: what is counted is what the kernel sees. (So an armed call is no
// cancellation point.)
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "faultinject/raw_syscall.h"
#include "faultinject/recording_log.h"
#include "faultinject/rule.h"
#include "faultinject/shared_page.h"
#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

/// Everything that wrappers test before they go the slow way: bit 0, rules are armed; bit 1, calls
/// are recorded; the rest, the number of enabled libfiu points.
extern std::atomic<std::uint32_t> shim_gate;
inline constexpr std::uint32_t kArmedBit = 1;
inline constexpr std::uint32_t kRecordingBit = 2;
inline constexpr std::uint32_t kOneFailurePoint = 4;

/// Not an answer of the kernel's: the call is none of our business, or better done by the C
/// library.
inline constexpr long kLeaveToLibrary = -100000;

/// Does what rules and failure points say, and the call; returns as raw_syscall does, or
/// kLeaveToLibrary. `from_library`: a function of the C library was called, not syscall().
long intercept(Row row, Arguments arguments, bool from_library);

/// The log that calls are recorded in, or null.
RecordingLog* active_recording();

/// What is to be done to a call.
struct Decision {
  Injected injected = Injected::kNothing;
  std::uint64_t argument = 0;  // errno, bytes, or nanoseconds
};

/// What libfiu says, in failure_points.cc.
Decision ask_failure_points(const RowInfo& row, const Arguments& arguments);

}  // namespace crashgate::faultinject
