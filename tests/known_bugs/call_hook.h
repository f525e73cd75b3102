// Runs something just before a chosen system call of this program, or in its place: enough to play
// a known bug's failing run step by step in one process. The program's own definitions of write,
// fsync, renameat, fstatat, flock and getpid stand before libc's; without a hook they go straight
// to the kernel. Not thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

namespace crashgate::known_bugs {

/// What the call returns instead of being made; empty: make it.
struct Outcome {
  long result;
  int errno_value;
};
/// Gets the descriptor, where the call has one.
using Action = std::function<std::optional<Outcome>(int fd)>;

/// While it lives, the call number `nth` (from 1) of `call` runs `action` first. Calls made by the
/// action itself are neither counted nor hooked, and a lock that the action would have to wait for
/// fails with EDEADLK: the holder is below it on the same stack.
class CallHook {
 public:
  CallHook(std::string_view call, int nth, Action action);
  CallHook(const CallHook&) = delete;
  CallHook& operator=(const CallHook&) = delete;
  ~CallHook();
  /// Whether the action has run: a scenario that never reached its point proves nothing.
  bool ran() const;
};

/// What getpid answers from now on, in this process and its children; 0: the truth.
void pretend_process_id(int process_id);

}  // namespace crashgate::known_bugs
