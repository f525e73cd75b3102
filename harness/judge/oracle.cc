#include "harness/judge/oracle.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "faultinject/syscall_table.h"
#include "harness/judge/describe.h"
#include "harness/judge/foreign.h"
#include "harness/judge/key_history.h"

namespace crashgate::harness {
namespace {

using faultinject::CallRecord;
using faultinject::Injected;
using Violations = std::vector<Violation>;

struct Site {
  const History& history;
  std::uint32_t process;
  std::uint32_t number;
  Operation operation;
  const Event& event;

  std::string name() const { return describe_operation(history, process, number); }
};

void add(Violations& violations, const History& history, FindingKind kind, std::string_view subject,
         std::string message) {
  violations.push_back(
      {kind, std::move(message), std::string(subject),
       fmt::format("{}|{}|{}", to_string(kind), subject, disturbance_signature(history))});
}

void add(Violations& violations, const Site& site, FindingKind kind, std::string message) {
  add(violations, site.history, kind, to_string(site.operation.kind), std::move(message));
}

// Every operation that has begun.
template <typename Visit>
void for_each_site(const History& history, Visit visit) {
  for (std::uint32_t process = 0; process < history.processes.size(); ++process) {
    const auto count = operations_of(history.plan, history.survivor, process).size();
    for (std::uint32_t number = 0; number <= count; ++number) {
      const auto& event = history.processes[process].events[number];
      if (event.outcome == Outcome::kNotBegun) continue;
      visit(Site{history, process, number, operation_at(history, process, number), event});
    }
  }
}

std::string what_hangs(const History& history) {
  std::string text;
  for (std::uint32_t process = 0; process < history.processes.size(); ++process) {
    const auto& events = history.processes[process].events;
    const auto pending = std::ranges::find(events, Outcome::kPending, &Event::outcome);
    if (pending == events.end()) continue;
    text += text.empty() ? ": " : ", ";
    text +=
        describe_operation(history, process, static_cast<std::uint32_t>(pending - events.begin()));
    text += " did not return";
  }
  return text;
}

// How the processes ended.
void judge_ends(const History& history, Violations& violations) {
  if (history.timed_out || history.deadlocked) {
    add(violations, history, FindingKind::kHang, "run",
        history.deadlocked ? "every process waits for a lock that another one holds"
                           : "the run did not end in time" + what_hangs(history));
    return;
  }
  for (std::uint32_t process = 0; process < history.processes.size(); ++process) {
    const auto& log = history.processes[process];
    if (log.setup_failed) {
      add(violations, history, FindingKind::kErrorContract, "setup",
          fmt::format("the setup failed, undisturbed: {}", log.events[0].text.data()));
    }
    const bool planned = std::ranges::any_of(history.calls, [&](const CallRecord& call) {
      return call.process == process && call.injected >= Injected::kKillBefore;
    });
    const bool clean = WIFEXITED(log.wait_status) && WEXITSTATUS(log.wait_status) == 0;
    if (planned || clean) continue;
    const auto how = WIFSIGNALED(log.wait_status)
                         ? fmt::format("signal {} ({})", WTERMSIG(log.wait_status),
                                       ::sigabbrev_np(WTERMSIG(log.wait_status)))
                         : fmt::format("exit status {}", WEXITSTATUS(log.wait_status));
    add(violations, history, FindingKind::kErrorContract, "end",
        fmt::format("process {} ended with {} by itself", process, how));
  }
}

void judge_foreign(const History& history, Violations& violations) {
  if (history.plan.foreign.empty()) return;
  std::optional<Site> first_to_damage;
  for_each_site(history, [&](const Site& site) {
    if (site.event.damaged && (!first_to_damage || site.event.end < first_to_damage->event.end))
      first_to_damage.emplace(site);
  });
  if (first_to_damage) {
    add(violations, *first_to_damage, FindingKind::kErrorContract,
        fmt::format("{} touched what is not the store's: {}", first_to_damage->name(),
                    history.foreign_damage));
  } else if (!history.foreign_damage.empty()) {
    add(violations, history, FindingKind::kErrorContract, "run",
        "the run touched what is not the store's: " + history.foreign_damage);
  }
  for_each_site(history, [&](const Site& site) {
    if (auto wrong = judge_foreign_answer(history, site.process, site.number))
      add(violations, site, FindingKind::kErrorContract, std::move(*wrong));
  });
}

// The disk of a plan holds so much; what the worker's live objects and this payload need together
// may be more.
bool may_be_out_of_space(const Site& site) {
  return site.history.plan.disk_size != 0 && carries_payload(site.operation.kind) &&
         site.operation.size > site.history.plan.disk_size / 8;
}

bool is_allowed_error(const Site& site) {
  const auto& event = site.event;
  if (obstacle_to(site.operation.key, site.history.plan.foreign)) return true;
  const bool reads =
      site.operation.kind == OperationKind::kGet || site.operation.kind == OperationKind::kGetRange;
  if (reads && event.code == ErrorCode::kNotFound) return true;
  if (site.operation.kind == OperationKind::kGetRange && event.code == ErrorCode::kOutOfRange)
    return true;
  if (site.operation.kind == OperationKind::kPutIfAbsent && event.code == ErrorCode::kAlreadyExists)
    return true;
  if (carries_payload(site.operation.kind) && event.code == ErrorCode::kConflict &&
      has_conflicting_keys(site.history.plan))
    return true;
  const bool worker = site.process < site.history.plan.workers.size();
  if (worker && site.history.plan.descriptor_limit != 0 && event.errno_value == EMFILE) return true;
  if (event.errno_value == ENOSPC && may_be_out_of_space(site)) return true;
  return was_disturbed(site.history, site.process, site.number);
}

void judge_answer(const Site& site, Violations& violations) {
  const auto& event = site.event;
  if (event.outcome == Outcome::kError && !is_allowed_error(site)) {
    add(violations, site, FindingKind::kErrorContract,
        fmt::format("{} failed with {} ({}: {}) although nothing made it fail", site.name(),
                    to_string(event.code), event.text.data(),
                    ::strerrordesc_np(event.errno_value)));
  }
  if (event.outcome != Outcome::kOk) return;
  if (event.reading != Reading::kWhole) {
    const bool mixed = event.reading == Reading::kMixed || event.reading == Reading::kOtherKey ||
                       event.reading == Reading::kForeign;
    auto message = event.answer_size == 0
                       ? fmt::format("{} returned an empty object, which nobody wrote", site.name())
                       : fmt::format("{} returned {} bytes that are {}", site.name(),
                                     event.answer_size, to_string(event.reading));
    if (event.resembles >= 0)
      message +=
          ", from " + describe_payload(site.history, static_cast<std::size_t>(event.resembles));
    add(violations, site, mixed ? FindingKind::kMixed : FindingKind::kTorn, std::move(message));
  }
  if (site.operation.kind == OperationKind::kGetRange &&
      site.operation.offset + site.operation.length < site.operation.offset) {
    add(violations, site, FindingKind::kErrorContract,
        site.name() + " succeeded, although the range ends beyond what any file can hold");
  }
  if (!event.well_formed) {
    add(violations, site, FindingKind::kErrorContract,
        fmt::format("{} lists what it should not: {}", site.name(), event.text.data()));
  }
}

bool says_unsupported(int errno_value) {
  return errno_value == EINVAL || errno_value == EOPNOTSUPP || errno_value == ENOSYS;
}

// A barrier that a signal interrupted may be tried again, or another may do for it; not neither.
bool was_made_up_for(const History& history, const std::vector<std::size_t>& calls,
                     std::size_t interrupted) {
  const auto& failed = history.calls[interrupted];
  return failed.injected_errno == EINTR && std::ranges::any_of(calls, [&](std::size_t index) {
           using faultinject::Row;
           const auto& call = history.calls[index];
           const auto row = static_cast<Row>(call.row);
           if (index <= interrupted || call.injected != Injected::kNothing ||
               faultinject::row_info(row).kind != faultinject::Kind::kBarrier)
             return false;
           return call.inode == failed.inode || row == Row::k_syncfs || row == Row::k_sync;
         });
}

// After a failed barrier, what it covered may be lost, and a retry that returns 0 proves nothing
// (DESIGN.md), so a change whose barrier failed must not be reported as done.
void judge_barriers(const Site& site, Violations& violations) {
  const bool acknowledged =
      site.event.outcome == Outcome::kOk ||
      (site.event.outcome == Outcome::kError && site.event.code == ErrorCode::kAlreadyExists);
  if (!acknowledged ||
      !(carries_payload(site.operation.kind) || site.operation.kind == OperationKind::kRemove))
    return;
  const auto calls = calls_of(site.history, site.process, site.number);
  for (const auto index : calls) {
    const auto& call = site.history.calls[index];
    const auto& row = faultinject::row_info(static_cast<faultinject::Row>(call.row));
    if (call.injected != Injected::kError || row.kind != faultinject::Kind::kBarrier ||
        says_unsupported(call.injected_errno) || was_made_up_for(site.history, calls, index))
      continue;
    const bool concerns = call.directory || site.event.inode == 0 || call.inode == site.event.inode;
    if (!concerns) continue;
    add(violations, site, FindingKind::kErrorContract,
        fmt::format("{} reported success although its {} of {} had failed with {}", site.name(),
                    row.name, call.directory ? "a directory" : "the payload",
                    ::strerrorname_np(call.injected_errno)));
    return;
  }
}

void judge_leftovers(const History& history, Violations& violations) {
  if (history.processes.empty()) return;
  const auto& last = history.processes.back();
  if (last.events[1].outcome == Outcome::kOk && !history.leftovers.empty()) {
    add(violations, history, FindingKind::kErrorContract, "recover",
        fmt::format("recover left {} file(s) of dead writers behind, {} for one",
                    history.leftovers.size(), history.leftovers.front()));
  }
  for (std::uint32_t process = 0; process < history.processes.size(); ++process) {
    if (!history.processes[process].leaked_descriptor) continue;
    add(violations, history, FindingKind::kErrorContract, "descriptors",
        fmt::format("process {} has a descriptor open that the store opened and did not close",
                    process));
  }
}

}  // namespace

std::vector<Violation> judge(const History& history) {
  Violations violations;
  judge_ends(history, violations);
  if (!violations.empty()) return violations;
  // What was reached through something foreign shows in other answers, too: consequences.
  judge_foreign(history, violations);
  if (!violations.empty()) return violations;
  for_each_site(history, [&](const Site& site) {
    judge_answer(site, violations);
    judge_barriers(site, violations);
  });
  for (std::size_t key = 0; key < history.keys.size(); ++key) {
    if (obstacle_to(history.keys[key], history.plan.foreign)) continue;
    if (auto violation = judge_key(history, key)) violations.push_back(std::move(*violation));
  }
  judge_leftovers(history, violations);
  // A torn or mixed payload, a second winner or a lost object says more than the odd error that may
  // go with it.
  std::ranges::stable_sort(violations, {}, &Violation::kind);
  return violations;
}

}  // namespace crashgate::harness
