#include "harness/judge/key_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "harness/judge/describe.h"

namespace crashgate::harness {
namespace {

constexpr std::uint32_t kSetup = UINT32_MAX;

bool claims_about_names(int errno_value) {
  constexpr int kClaims[] = {ENOENT, EEXIST, ENOTDIR, EISDIR, ELOOP, ENOTEMPTY,
                             ENXIO,  EAGAIN, ESTALE,  ENODEV, EXDEV, ENAMETOOLONG};
  return std::ranges::find(kClaims, errno_value) != std::end(kClaims);
}

std::int32_t payload_index(const History& history, std::uint16_t writer, std::uint32_t sequence) {
  for (std::size_t i = 0; i < history.payloads.size(); ++i) {
    if (history.payloads[i].writer == writer && history.payloads[i].sequence == sequence)
      return static_cast<std::int32_t>(i);
  }
  return -1;
}

// The setup's last word on the key, as one write before everything.
void add_setup(const History& history, const std::string& key, std::vector<Participant>& result) {
  std::optional<KeyOperation> last;
  for (std::size_t i = 0; i < history.plan.setup.size(); ++i) {
    const auto& operation = history.plan.setup[i];
    if (operation.key != key) continue;
    if (carries_payload(operation.kind)) {
      last = KeyOperation{
          .effect = Effect::kWrite,
          .begin = 0,
          .end = 0,
          .payload = payload_index(history, kSetupWriter, static_cast<std::uint32_t>(i + 1))};
    } else if (operation.kind == OperationKind::kRemove) {
      last.reset();
    }
  }
  if (last) result.push_back({*last, kSetup, 0, false});
}

bool promises_no_effect(const Event& event) {
  return event.outcome == Outcome::kError && event.code != ErrorCode::kIndeterminate;
}

// A change: required if acknowledged, optional if pending or Indeterminate, `failed` if it promises
// no effect.
Participant change(const Event& event, KeyOperation operation, Effect effect) {
  operation.effect = effect;
  operation.required = event.outcome == Outcome::kOk;
  return {operation, 0, 0, promises_no_effect(event)};
}

std::optional<Participant> participant(const History& history, std::uint32_t process,
                                       std::uint32_t number, std::size_t key_index) {
  const auto& log = history.processes[process];
  const auto& event = log.events[number];
  const auto operation = operation_at(history, process, number);
  const auto& key = history.keys[key_index];
  const bool concerns = operation.kind == OperationKind::kList ? key.starts_with(operation.key)
                                                               : operation.key == key;
  if (!concerns) return std::nullopt;
  const bool lied = was_lied_to(history, process, number);
  const bool answered = event.outcome == Outcome::kOk;
  KeyOperation base{.begin = event.begin,
                    .end = event.outcome == Outcome::kPending ? log.end_stamp : event.end};
  const auto read = [&](bool present, std::uint64_t matches) {
    base.effect = present ? Effect::kReadPresent : Effect::kReadAbsent;
    base.matches = matches;
    return Participant{base};
  };
  switch (operation.kind) {
    case OperationKind::kPut:
    case OperationKind::kPutIfAbsent: {
      base.payload = payload_index(history, static_cast<std::uint16_t>(process), number);
      if (event.outcome == Outcome::kError && event.code == ErrorCode::kAlreadyExists) {
        if (lied) return std::nullopt;
        return read(true, UINT64_MAX);
      }
      return change(
          event, base,
          operation.kind == OperationKind::kPut ? Effect::kWrite : Effect::kWriteIfAbsent);
    }
    case OperationKind::kRemove: {
      auto result = change(event, base, Effect::kErase);
      if (lied) result.operation.required = false;
      return result;
    }
    case OperationKind::kGet:
    case OperationKind::kGetRange:
      if (answered) {
        // What is no payload at all is reported as such; here it only says that something was
        // there.
        return read(true, event.reading == Reading::kWhole ? event.matches : UINT64_MAX);
      }
      if (event.outcome == Outcome::kError && event.code == ErrorCode::kOutOfRange) {
        std::uint64_t shorter = 0;
        for (std::size_t i = 0; i < history.payloads.size(); ++i) {
          if (history.payloads[i].size < operation.offset) shorter |= std::uint64_t{1} << i;
        }
        const bool overflow = operation.offset + operation.length < operation.offset;
        return overflow ? std::nullopt : std::optional(read(true, shorter));
      }
      if (event.outcome == Outcome::kError && event.code == ErrorCode::kNotFound && !lied)
        return read(false, 0);
      return std::nullopt;
    case OperationKind::kExists:
      if (!answered || (lied && !event.exists)) return std::nullopt;
      return read(event.exists, UINT64_MAX);
    case OperationKind::kList:
      if (!answered || lied) return std::nullopt;
      return read((event.listed >> key_index & 1) != 0, UINT64_MAX);
    case OperationKind::kOpen:
    case OperationKind::kRecover:
      break;
  }
  return std::nullopt;
}

bool explained(const std::vector<Participant>& all) {
  std::vector<KeyOperation> operations;
  for (const auto& one : all) {
    if (!one.failed) operations.push_back(one.operation);
  }
  return is_linearizable(operations);
}

// One answer, taken back: does that explain the rest?
enum class Suspicion {
  kSecondWinner,   // a put_if_absent won although something was there
  kFailedYetDone,  // a call that promised no effect had one
  kDisturbedRead,  // a read that had something injected answered wrong
  kLostChange,     // an acknowledged change is not there
  kWrongRead,      // an undisturbed read answered wrong
  kLostSetup,      // as kLostChange, of what was there before
};

bool is_read(Effect effect) {
  return effect == Effect::kReadPresent || effect == Effect::kReadAbsent;
}

// Takes back `one` as the suspicion has it; false where it cannot be suspected of that.
bool take_back(const History& history, Suspicion suspicion, Participant& one) {
  const bool setup = one.process == kSetup;
  const bool disturbed = !setup && was_disturbed(history, one.process, one.number);
  switch (suspicion) {
    case Suspicion::kSecondWinner:
      if (one.failed || !one.operation.required || one.operation.effect != Effect::kWriteIfAbsent)
        return false;
      one.operation.effect = Effect::kWrite;
      return true;
    case Suspicion::kFailedYetDone:
      if (!one.failed) return false;
      one.failed = one.operation.required = false;
      return true;
    case Suspicion::kDisturbedRead:
    case Suspicion::kWrongRead:
      if (one.failed || !is_read(one.operation.effect) ||
          disturbed != (suspicion == Suspicion::kDisturbedRead))
        return false;
      one.operation.required = false;
      return true;
    case Suspicion::kLostChange:
    case Suspicion::kLostSetup:
      if (one.failed || !one.operation.required || is_read(one.operation.effect) ||
          setup != (suspicion == Suspicion::kLostSetup))
        return false;
      one.operation.required = false;
      return true;
  }
  return false;
}

std::string name_of(const History& history, const Participant& one) {
  return one.process == kSetup ? "the setup's put"
                               : describe_operation(history, one.process, one.number);
}

OperationKind kind_of(const History& history, const Participant& one) {
  return one.process == kSetup ? OperationKind::kPut
                               : operation_at(history, one.process, one.number).kind;
}

// The first survivor that got as far tells what the key held after the crash.
bool absent_after_crash(const History& history, const std::string& key) {
  for (auto process = static_cast<std::uint32_t>(history.plan.workers.size());
       process < history.processes.size(); ++process) {
    for (std::uint32_t number = 1; number <= history.survivor.size(); ++number) {
      const auto& event = history.processes[process].events[number];
      const auto& operation = history.survivor[number - 1];
      if (operation.kind != OperationKind::kGet || operation.key != key || event.end == 0) continue;
      return event.outcome == Outcome::kError && event.code == ErrorCode::kNotFound;
    }
  }
  return false;
}

Violation violation(const History& history, FindingKind kind, const Participant& one,
                    std::string message) {
  const auto subject = to_string(kind_of(history, one));
  return {kind, std::move(message), std::string(subject),
          fmt::format("{}|{}|{}", to_string(kind), subject, disturbance_signature(history))};
}

std::string answer_of(const History& history, const Participant& one) {
  if (one.operation.effect == Effect::kReadAbsent) return "found nothing";
  if (one.operation.matches != 0 && one.operation.matches != UINT64_MAX) {
    return "found the payload of " +
           describe_payload(history,
                            static_cast<std::size_t>(__builtin_ctzll(one.operation.matches)));
  }
  return "found an object";
}

Violation accuse(const History& history, std::size_t key, Suspicion suspicion,
                 const Participant& one) {
  const auto name = name_of(history, one);
  switch (suspicion) {
    case Suspicion::kSecondWinner:
      return violation(history, FindingKind::kDuplicateWinner, one,
                       name + " succeeded, although the key held another's object already");
    case Suspicion::kFailedYetDone: {
      const auto code = history.processes[one.process].events[one.number].code;
      return violation(
          history, FindingKind::kErrorContract, one,
          fmt::format("{} reported {}, which says that nothing happened, yet it changed the store",
                      name, to_string(code)));
    }
    case Suspicion::kDisturbedRead:
    case Suspicion::kWrongRead:
      if (kind_of(history, one) == OperationKind::kPutIfAbsent) {
        return violation(
            history, FindingKind::kLostAcknowledgement, one,
            name + " was told AlreadyExists, yet no whole object of a winner was there");
      }
      return violation(
          history, FindingKind::kStale, one,
          name + " " + answer_of(history, one) + ", which was not so at any moment of the call");
    case Suspicion::kLostChange:
    case Suspicion::kLostSetup:
      break;
  }
  if (one.operation.effect == Effect::kErase) {
    return violation(history, FindingKind::kResurrected, one,
                     name + " succeeded, yet the object is there afterwards");
  }
  const bool lost = absent_after_crash(history, history.keys[key]);
  return violation(history, lost ? FindingKind::kLostAcknowledgement : FindingKind::kStale, one,
                   name + (lost ? " succeeded, yet nothing is there afterwards"
                                : " succeeded, yet an older object is there afterwards"));
}

}  // namespace

bool was_disturbed(const History& history, std::uint32_t process, std::uint32_t operation) {
  return std::ranges::any_of(calls_of(history, process, operation), [&](std::size_t call) {
    return history.calls[call].injected != faultinject::Injected::kNothing;
  });
}

bool was_lied_to(const History& history, std::uint32_t process, std::uint32_t operation) {
  return std::ranges::any_of(calls_of(history, process, operation), [&](std::size_t call) {
    return history.calls[call].injected == faultinject::Injected::kError &&
           claims_about_names(history.calls[call].injected_errno);
  });
}

std::vector<Participant> participants(const History& history, std::size_t key) {
  std::vector<Participant> result;
  add_setup(history, history.keys[key], result);
  for (std::uint32_t process = 0; process < history.processes.size(); ++process) {
    const auto count = operations_of(history.plan, history.survivor, process).size();
    for (std::uint32_t number = 1; number <= count; ++number) {
      if (history.processes[process].events[number].outcome == Outcome::kNotBegun) continue;
      if (auto one = participant(history, process, number, key)) {
        one->process = process;
        one->number = number;
        result.push_back(*one);
      }
    }
  }
  return result;
}

std::optional<Violation> judge_key(const History& history, std::size_t key) {
  const auto all = participants(history, key);
  if (explained(all)) return std::nullopt;
  // The more telling suspicions come first.
  for (const auto suspicion :
       {Suspicion::kSecondWinner, Suspicion::kFailedYetDone, Suspicion::kDisturbedRead,
        Suspicion::kLostChange, Suspicion::kWrongRead, Suspicion::kLostSetup}) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto relaxed = all;
      if (take_back(history, suspicion, relaxed[i]) && explained(relaxed))
        return accuse(history, key, suspicion, all[i]);
    }
  }
  return violation(history, FindingKind::kOrder, all.back(),
                   fmt::format("no order of the operations on \"{}\" explains all their answers",
                               printable(history.keys[key])));
}

}  // namespace crashgate::harness
