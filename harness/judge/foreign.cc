#include "harness/judge/foreign.h"

#include <fmt/format.h>

#include "harness/judge/describe.h"
#include "harness/judge/key_history.h"

namespace crashgate::harness {
namespace {

// Success that says that an object is there, or has gone there, or may go there.
bool claims_an_object(const Operation& operation, const Event& event, const Obstacle& obstacle) {
  switch (operation.kind) {
    case OperationKind::kExists:
      return event.exists;
    case OperationKind::kRemove:
      return obstacle.bars;
    case OperationKind::kList:
      return false;
    default:
      return true;
  }
}

std::string what_it_returned(const Operation& operation, const Event& event) {
  const bool reads =
      operation.kind == OperationKind::kGet || operation.kind == OperationKind::kGetRange;
  if (!reads || event.answer_size == 0) return "";
  return fmt::format(": it returned {} bytes", event.answer_size);
}

}  // namespace

std::optional<std::string> judge_foreign_answer(const History& history, std::uint32_t process,
                                                std::uint32_t number) {
  const auto& event = history.processes[process].events[number];
  const auto operation = operation_at(history, process, number);
  const auto name = describe_operation(history, process, number);
  if (operation.kind == OperationKind::kList && event.outcome == Outcome::kOk) {
    for (std::size_t key = 0; key < history.keys.size(); ++key) {
      if ((event.listed >> key & 1) != 0 && obstacle_to(history.keys[key], history.plan.foreign))
        return fmt::format("{} lists \"{}\", where no object can be", name,
                           printable(history.keys[key]));
    }
    const std::string_view unknown = event.text.data();
    if (!event.well_formed && obstacle_to(unknown, history.plan.foreign))
      return fmt::format("{} lists \"{}\", where no object can be", name, printable(unknown));
    return std::nullopt;
  }
  const auto obstacle = obstacle_to(operation.key, history.plan.foreign);
  if (!obstacle) return std::nullopt;
  if (event.outcome == Outcome::kOk && claims_an_object(operation, event, *obstacle))
    return fmt::format("{} succeeded, although no object can be at its key{}", name,
                       what_it_returned(operation, event));
  const bool claims =
      event.code == ErrorCode::kAlreadyExists || event.code == ErrorCode::kIndeterminate;
  if (event.outcome == Outcome::kError && claims && !was_disturbed(history, process, number))
    return fmt::format("{} failed with {}, although no object can be at its key", name,
                       to_string(event.code));
  return std::nullopt;
}

}  // namespace crashgate::harness
