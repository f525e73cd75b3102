// Histories made by hand: what a perfect store would have answered, operation after operation, but
// for the twists of a test.
#pragma once

#include <signal.h>

#include <cerrno>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "faultinject/syscall_table.h"
#include "harness/plan/history.h"

namespace crashgate::harness {

/// What the store holds: key to index into History::payloads.
using Contents = std::map<std::string, std::size_t>;
/// Called after the perfect answer to operation `number` of `process` was noted: may change the
/// answer, what the store holds, and add the operation's calls. An outcome made kPending ends the
/// process there, killed.
using Twist = std::function<void(std::uint32_t process, std::uint32_t number, Event& event,
                                 Contents& contents, History& history)>;

inline void fail(Event& event, ErrorCode code, int errno_value = 0) {
  event = Event{.outcome = Outcome::kError,
                .code = code,
                .errno_value = errno_value,
                .begin = event.begin,
                .first_record = event.first_record};
}

/// A call of `process` into which something was injected.
inline void add_call(History& history, std::uint32_t process, const char* row,
                     faultinject::Injected injected, int errno_value = 0, std::uint64_t inode = 0,
                     bool directory = false) {
  faultinject::CallRecord call;
  call.row = static_cast<std::uint16_t>(*faultinject::find_row(row));
  call.process = static_cast<std::uint8_t>(process);
  call.injected = injected;
  call.injected_errno = errno_value;
  call.inode = inode;
  call.directory = directory;
  history.calls.push_back(call);
}

inline std::size_t payload_of(const History& history, std::uint16_t writer,
                              std::uint32_t sequence) {
  std::size_t index = 0;
  while (history.payloads.at(index).writer != writer ||
         history.payloads[index].sequence != sequence) {
    ++index;
  }
  return index;
}

inline void answer_perfectly(const Operation& operation, std::size_t payload, Event& event,
                             Contents& contents, const History& history) {
  const auto found = contents.find(operation.key);
  const bool present = found != contents.end();
  event.outcome = Outcome::kOk;
  switch (operation.kind) {
    case OperationKind::kPut:
      contents[operation.key] = payload;
      break;
    case OperationKind::kPutIfAbsent:
      if (present)
        fail(event, ErrorCode::kAlreadyExists, EEXIST);
      else
        contents[operation.key] = payload;
      break;
    case OperationKind::kRemove:
      contents.erase(operation.key);
      break;
    case OperationKind::kGet:
    case OperationKind::kGetRange:
      if (!present) {
        fail(event, ErrorCode::kNotFound, ENOENT);
      } else if (operation.offset > history.payloads[found->second].size) {
        fail(event, ErrorCode::kOutOfRange);
      } else {
        event.matches = std::uint64_t{1} << found->second;
      }
      break;
    case OperationKind::kExists:
      event.exists = present;
      break;
    case OperationKind::kList:
      for (std::size_t i = 0; i < history.keys.size(); ++i) {
        const bool listed =
            contents.contains(history.keys[i]) && history.keys[i].starts_with(operation.key);
        event.listed |= std::uint64_t{listed} << i;
      }
      break;
    case OperationKind::kOpen:
    case OperationKind::kRecover:
      break;
  }
}

inline History make_history(const Plan& plan, const Twist& twist = {}) {
  History history;
  history.plan = plan;
  history.survivor = survivor_operations(plan);
  history.keys = keys_of(plan);
  history.payloads = payloads_of(plan, history.survivor, survivor_count(plan));
  Contents contents;
  for (std::size_t i = 0; i < plan.setup.size(); ++i) {
    Event ignored;
    const auto payload = carries_payload(plan.setup[i].kind)
                             ? payload_of(history, kSetupWriter, static_cast<std::uint32_t>(i + 1))
                             : 0;
    answer_perfectly(plan.setup[i], payload, ignored, contents, history);
  }
  std::uint64_t stamp = 0;
  const auto count = static_cast<std::uint32_t>(plan.workers.size()) + survivor_count(plan);
  for (std::uint32_t process = 0; process < count; ++process) {
    ProcessHistory log;
    log.ran = true;
    const auto& operations = operations_of(plan, history.survivor, process);
    log.events.resize(operations.size() + 1);
    for (std::uint32_t number = 0; number <= operations.size(); ++number) {
      auto& event = log.events[number];
      event.begin = ++stamp;
      event.first_record = static_cast<std::uint32_t>(history.calls.size());
      const auto operation =
          number == 0 ? Operation{.kind = OperationKind::kOpen} : operations[number - 1];
      const auto payload = carries_payload(operation.kind)
                               ? payload_of(history, static_cast<std::uint16_t>(process), number)
                               : 0;
      answer_perfectly(operation, payload, event, contents, history);
      if (twist) twist(process, number, event, contents, history);
      event.last_record = static_cast<std::uint32_t>(history.calls.size());
      if (event.outcome == Outcome::kPending) {
        log.wait_status = SIGKILL;
        break;
      }
      event.end = ++stamp;
    }
    log.end_stamp = ++stamp;
    history.processes.push_back(log);
  }
  return history;
}

}  // namespace crashgate::harness
