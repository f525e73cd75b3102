#include "faultinject/intercept.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "faultinject/call_logger.h"
#include "faultinject/call_path.h"
#include "faultinject/shim.h"
#include "faultinject/transfer.h"
#include "faultinject/turns.h"

namespace crashgate::faultinject {

std::atomic<std::uint32_t> shim_gate{0};

namespace {

constexpr int kSurvivedKillStatus = 125;

// Set by arm() before the gate opens; constant while it is open.
struct Arming {
  std::array<Rule, kMaxRules> rules;
  std::size_t rule_count = 0;
  SharedPage* page = nullptr;
  std::uint32_t process = 0;
  bool with_turns = false;
};
Arming arming;
std::atomic<bool> failure_points_ignored{false};
// Set before the gate opens for recording.
RecordingLog* recording = nullptr;
constinit SharedPage private_page{};  // not touched at start-up: 1.5 MB that each fork would copy

/// Some system calls are storage calls only for some arguments.
bool is_storage_call(Row row, const Arguments& arguments) {
  switch (row) {
    case Row::k_mmap:
      return (arguments[3] & MAP_ANONYMOUS) == 0;
    case Row::k_ioctl: {
      auto command = static_cast<unsigned>(arguments[1]);
      return command == FICLONE || command == FICLONERANGE || command == FIDEDUPERANGE;
    }
    case Row::k_fcntl:
      switch (static_cast<int>(arguments[1])) {
        case F_GETFD:
        case F_GETFL:
        case F_GETLK:
        case F_OFD_GETLK:
        case F_GETOWN:
        case F_GETOWN_EX:
        case F_SETOWN:
        case F_SETOWN_EX:
        case F_GETSIG:
        case F_SETSIG:
        case F_GETPIPE_SZ:
        case F_SETPIPE_SZ:
        case F_GET_SEALS:
          return false;
        default:
          return true;
      }
    default:
      return true;
  }
}

/// The C library's function may have more arguments than the system call of the same name, or
/// others.
Row adapt_library_call(Row row, Arguments& arguments) {
  switch (row) {
    case Row::k_faccessat:
      return static_cast<int>(arguments[3]) == 0 ? row : Row::k_faccessat2;
    case Row::k_fchmodat:
      return static_cast<int>(arguments[3]) == 0 ? row : Row::k_fchmodat2;
    default:
      return row;
  }
}

/// The library knows a way without the system call; only where nothing was injected.
bool library_can_emulate(Row row, long result) {
  switch (row) {
    case Row::k_faccessat2:
    case Row::k_fchmodat2:
      return result == -ENOSYS;
    case Row::k_close_range:
      return result == -ENOSYS;
    default:
      return false;
  }
}

Decision decide_by_rules(const RowInfo& row, Row id, const Arguments& arguments) {
  Decision decision;
  bool decided = false;
  for (std::size_t i = 0; i < arming.rule_count; ++i) {
    const Rule& rule = arming.rules[i];
    if (!rule.calls[static_cast<std::size_t>(id)]) continue;
    if (rule.glob[0] != '\0' && !call_path_matches(row, arguments, rule.glob.data())) continue;
    std::uint64_t turn = arming.page->rule_matches[rule.counter].fetch_add(1) + 1;
    bool due = turn >= rule.first && turn <= rule.last && (turn - rule.first) % rule.step == 0;
    if (decided || !due) continue;
    decided = true;
    arming.page->rule_actions[rule.counter].fetch_add(1);
    constexpr Injected kInjected[] = {Injected::kError,   Injected::kShort,
                                      Injected::kDelay,   Injected::kKillBefore,
                                      Injected::kKillMid, Injected::kKillAfter};
    decision = {kInjected[static_cast<std::size_t>(rule.action)], rule.argument};
  }
  return decision;
}

void record(const RowInfo& row, Row id, const Arguments& arguments, const Decision& decision) {
  SharedPage& page = *arming.page;
  std::uint64_t slot = page.record_count.fetch_add(1);
  if (slot >= kMaxCallRecords) return;
  CallRecord entry{.row = static_cast<std::uint16_t>(id),
                   .process = static_cast<std::uint8_t>(arming.process),
                   .injected = decision.injected};
  if (decision.injected == Injected::kError)
    entry.injected_errno = static_cast<int>(decision.argument);
  std::size_t descriptor = find_role(row, Role::kDescriptor);
  const bool told = decision.injected != Injected::kNothing || row.kind == Kind::kBarrier;
  if (told && descriptor < kMaxArguments) {
    struct stat status;
    long result = raw_syscall(SYS_fstat, {arguments[descriptor], reinterpret_cast<long>(&status)});
    if (!is_error(result)) {
      entry.inode = status.st_ino;
      entry.directory = S_ISDIR(status.st_mode);
    }
  }
  page.records[slot] = entry;
}

[[noreturn]] void die() {
  raw_syscall(SYS_kill, {raw_syscall(SYS_getpid), SIGKILL});
  // The init of a process-id namespace is immune to its own signals.
  if ((shim_gate.load() & kArmedBit) != 0) arming.page->kills_survived.fetch_add(1);
  while (true) raw_syscall(SYS_exit_group, {kSurvivedKillStatus});
}

/// The same lock request without waiting. False: the call is no request that waits.
bool make_nonblocking(Row row, Arguments& arguments) {
  if (row == Row::k_flock) {
    if ((arguments[1] & LOCK_NB) != 0 || (arguments[1] & LOCK_UN) != 0) return false;
    arguments[1] |= LOCK_NB;
    return true;
  }
  if (row != Row::k_fcntl) return false;
  switch (static_cast<int>(arguments[1])) {
    case F_SETLKW:
      arguments[1] = F_SETLK;
      return true;
    case F_OFD_SETLKW:
      arguments[1] = F_OFD_SETLK;
      return true;
    default:
      return false;
  }
}

long perform(const RowInfo& row, Row id, Arguments arguments, bool with_turns) {
  if (!with_turns || !make_nonblocking(id, arguments)) return raw_syscall(row.number, arguments);
  while (true) {
    long result = raw_syscall(row.number, arguments);
    if (result != -EAGAIN && result != -EACCES) return result;
    if (!turns_wait_for_lock(arming.page->turns, arming.process)) return -EDEADLK;
  }
}

void sleep_for(std::uint64_t nanoseconds) {
  timespec wait = {static_cast<time_t>(nanoseconds / 1'000'000'000),
                   static_cast<long>(nanoseconds % 1'000'000'000)};
  long request = reinterpret_cast<long>(&wait);
  while (raw_syscall(SYS_nanosleep, {request, request}) == -EINTR) {
  }
}

/// The call, disturbed as decided. Fatal: the process is to die before the call returns.
Outcome carry_out(const RowInfo& row, Row id, const Arguments& arguments, const Decision& decision,
                  bool with_turns) {
  switch (decision.injected) {
    case Injected::kNothing:
      break;
    case Injected::kError:
      // Linux frees the descriptor whatever close returns.
      if (id == Row::k_close) raw_syscall(row.number, arguments);
      return {-static_cast<long>(decision.argument)};
    case Injected::kShort:
      if (!carries_data(row)) break;
      return {transfer_at_most(row, arguments, decision.argument)};
    case Injected::kDelay:
    case Injected::kKillBefore:
      break;  // done before the call
    case Injected::kKillMid: {
      std::uint64_t total = carries_data(row) ? transfer_size(row, arguments) : 0;
      return {total >= 2 ? transfer_at_most(row, arguments, total / 2) : -EINTR, true};
    }
    case Injected::kKillAfter:
      return {perform(row, id, arguments, with_turns), true};
  }
  return {perform(row, id, arguments, with_turns)};
}

}  // namespace

long intercept(Row row, Arguments arguments, bool from_library) {
  if (from_library) row = adapt_library_call(row, arguments);
  if (!is_storage_call(row, arguments)) return kLeaveToLibrary;
  const RowInfo& info = row_info(row);
  std::uint32_t gate = shim_gate.load(std::memory_order_acquire);
  bool armed = (gate & kArmedBit) != 0;
  bool with_turns = armed && arming.with_turns;
  Decision decision;
  if (armed) {
    if (with_turns) turns_before_call(arming.page->turns, arming.process);
    arming.page->row_calls[static_cast<std::size_t>(row)].fetch_add(1);
    if (arming.rule_count > 0) decision = decide_by_rules(info, row, arguments);
  }
  if (decision.injected == Injected::kNothing && gate >= kOneFailurePoint &&
      !failure_points_ignored.load(std::memory_order_relaxed)) {
    decision = ask_failure_points(info, arguments);
  }
  if (armed) record(info, row, arguments, decision);
  if (decision.injected == Injected::kKillBefore) die();
  if (decision.injected == Injected::kDelay) sleep_for(decision.argument);
  const auto make_call = [&] { return carry_out(info, row, arguments, decision, with_turns); };
  const Outcome outcome = (gate & kRecordingBit) != 0
                              ? log_call(*recording, row, arguments, Performance(make_call))
                              : make_call();
  if (outcome.fatal) die();
  long result = outcome.result;
  if (from_library && decision.injected == Injected::kNothing && library_can_emulate(row, result)) {
    return kLeaveToLibrary;
  }
  return result;
}

void arm(std::span<const Rule> rules, SharedPage* page, std::uint32_t process, bool with_turns) {
  disarm();
  arming.rule_count = std::min(rules.size(), kMaxRules);
  std::copy_n(rules.begin(), arming.rule_count, arming.rules.begin());
  arming.page = page != nullptr ? page : &private_page;
  arming.process = process;
  arming.with_turns = with_turns;
  shim_gate.fetch_or(kArmedBit, std::memory_order_release);
}

RecordingLog* active_recording() {
  return (shim_gate.load(std::memory_order_acquire) & kRecordingBit) != 0 ? recording : nullptr;
}

void start_recording(RecordingLog& log, const std::atomic<std::uint64_t>* disk_stamp) {
  stop_recording();
  log.disk_stamp = disk_stamp;
  recording = &log;
  shim_gate.fetch_or(kRecordingBit, std::memory_order_release);
}

void stop_recording() {
  shim_gate.fetch_and(~kRecordingBit, std::memory_order_release);
}

void ignore_failure_points() {
  failure_points_ignored.store(true);
}

void disarm() {
  shim_gate.fetch_and(~kArmedBit, std::memory_order_release);
}

}  // namespace crashgate::faultinject
