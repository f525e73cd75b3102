// Turns between processes: a deterministic scheduler at storage-call granularity.
//
// Every process that takes part waits until it holds the turn; only the holder runs. When the
// holder is about to begin a storage call, the global step number goes up by one; if a preemption
// names that step, the turn passes to the process it names (if that one still runs) and the holder
// waits. A process that ends passes the turn to the lowest-numbered one that still runs. A blocking
// lock call is tried without blocking, and while it would block the turn goes round; if all wait
// for locks, `deadlocked` is set. A process that dies holding the turn keeps it: whoever reaps it
// calls turns_pass_on_after_death, by which time the kernel has closed its files and dropped its
// locks.
//
// All functions are async-signal-safe and allocate nothing; waiting is a futex.
#pragma once

#include <cstdint>

#include "faultinject/shared_page.h"

namespace crashgate::faultinject {

inline constexpr std::uint32_t kNobody = UINT32_MAX;
enum class TurnState : std::uint32_t { kAbsent, kRunnable, kBlocked, kFinished };

/// Prepares for `process_count` processes; process 0 has the first turn. Preemptions must be
/// ascending in `step`.
void turns_start(Turns& turns, std::uint32_t process_count);
/// Waits for the turn. Called once by each process before its first storage call.
void turns_join(Turns& turns, std::uint32_t process);
/// At the beginning of a storage call, by the holder. Returns holding the turn again.
void turns_before_call(Turns& turns, std::uint32_t process);
/// A lock would block: lets the others run, returns when it is worth trying again. False: deadlock,
/// give up.
bool turns_wait_for_lock(Turns& turns, std::uint32_t process);
/// The process is done and passes the turn on.
void turns_finish(Turns& turns, std::uint32_t process);
/// By the parent, after reaping `process`, however it ended. Passes the turn on if it held it.
/// Idempotent.
void turns_pass_on_after_death(Turns& turns, std::uint32_t process);

}  // namespace crashgate::faultinject
