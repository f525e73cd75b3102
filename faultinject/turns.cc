// One futex word names the holder; everyone else sleeps on it. Blocked processes (waiting for a
// lock) become runnable again whenever another begins a call, finishes or dies, since only then can
// a lock have come free; so when the holder finds nobody runnable but itself blocked, nothing can
// ever change: a deadlock.
//
// The one race is with death: a turn may be passed to a process that its parent has just reaped.
// Whoever passes a turn therefore looks again after the store, as the parent does; sequential
// consistency lets one of the two see the other, and compare-and-exchange lets only one of them
// act.
#include "faultinject/turns.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include <climits>

#include "faultinject/raw_syscall.h"

namespace crashgate::faultinject {
namespace {

constexpr auto kBlocked = static_cast<std::uint32_t>(TurnState::kBlocked);
constexpr auto kRunnable = static_cast<std::uint32_t>(TurnState::kRunnable);
constexpr auto kFinished = static_cast<std::uint32_t>(TurnState::kFinished);

void wake_all(std::atomic<std::uint32_t>& word) {
  raw_syscall(SYS_futex, {reinterpret_cast<long>(&word), FUTEX_WAKE, INT_MAX});
}

void wait_for_turn(Turns& turns, std::uint32_t process) {
  while (true) {
    std::uint32_t holder = turns.holder.load();
    if (holder == process) return;
    raw_syscall(SYS_futex, {reinterpret_cast<long>(&turns.holder), FUTEX_WAIT, holder, 0});
  }
}

void wake_blocked(Turns& turns) {
  for (std::uint32_t i = 0; i < turns.process_count; ++i) {
    std::uint32_t expected = kBlocked;
    turns.state[i].compare_exchange_strong(expected, kRunnable);
  }
}

/// The first runnable process, looking from `start` round; kNobody if there is none.
std::uint32_t find_runnable(const Turns& turns, std::uint32_t start) {
  for (std::uint32_t i = 0; i < turns.process_count; ++i) {
    std::uint32_t candidate = (start + i) % turns.process_count;
    if (turns.state[candidate].load() == kRunnable) return candidate;
  }
  return kNobody;
}

/// Gives the turn that `from` holds to `to`; where that one has died meanwhile, to the
/// lowest-numbered that runs.
void hand_over(Turns& turns, std::uint32_t from, std::uint32_t to) {
  while (turns.holder.compare_exchange_strong(from, to)) {
    if (to == kNobody || turns.state[to].load() != kFinished) break;
    from = to;
    wake_blocked(turns);
    to = find_runnable(turns, 0);
  }
  wake_all(turns.holder);
}

void retire(Turns& turns, std::uint32_t process) {
  turns.state[process].store(kFinished);
  if (turns.holder.load() != process) return;
  wake_blocked(turns);
  hand_over(turns, process, find_runnable(turns, 0));
}

}  // namespace

void turns_start(Turns& turns, std::uint32_t process_count) {
  turns.process_count = process_count;
  turns.step.store(0);
  turns.deadlocked.store(0);
  for (std::uint32_t i = 0; i < kMaxProcesses; ++i) {
    turns.state[i].store(i < process_count ? kRunnable
                                           : static_cast<std::uint32_t>(TurnState::kAbsent));
  }
  turns.holder.store(0);
}

void turns_join(Turns& turns, std::uint32_t process) {
  wait_for_turn(turns, process);
}

void turns_before_call(Turns& turns, std::uint32_t process) {
  std::uint32_t step = turns.step.fetch_add(1) + 1;
  wake_blocked(turns);
  for (std::uint32_t i = 0; i < turns.preemption_count && i < kMaxPreemptions; ++i) {
    const Turns::Preemption& preemption = turns.preemptions[i];
    if (preemption.step != step) continue;
    std::uint32_t next = preemption.process;
    if (next == process || next >= turns.process_count || turns.state[next].load() != kRunnable)
      return;
    hand_over(turns, process, next);
    wait_for_turn(turns, process);
    return;
  }
}

bool turns_wait_for_lock(Turns& turns, std::uint32_t process) {
  turns.state[process].store(kBlocked);
  std::uint32_t next = find_runnable(turns, process + 1);
  if (next == kNobody) {
    turns.deadlocked.store(1);
    turns.state[process].store(kRunnable);
    return false;
  }
  hand_over(turns, process, next);
  wait_for_turn(turns, process);
  turns.state[process].store(kRunnable);
  return true;
}

void turns_finish(Turns& turns, std::uint32_t process) {
  retire(turns, process);
}

void turns_pass_on_after_death(Turns& turns, std::uint32_t process) {
  retire(turns, process);
}

}  // namespace crashgate::faultinject
