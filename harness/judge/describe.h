// Words for what happened in a run: operations, and what disturbed them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/plan/history.h"

namespace crashgate::harness {

/// Where a storage call belongs.
struct CallSite {
  std::uint32_t process = 0;
  std::uint32_t operation = 0;
  std::uint32_t ordinal = 0;  // from 1, among the calls of that operation
};
/// The operation that history.calls[index] was made by.
std::optional<CallSite> call_site(const History& history, std::size_t index);
/// The calls of one operation, in order: indices into history.calls.
std::vector<std::size_t> calls_of(const History& history, std::uint32_t process,
                                  std::uint32_t operation);

/// The operation itself; number 0 is the opening.
Operation operation_at(const History& history, std::uint32_t process, std::uint32_t operation);
/// A key as ASCII text of at most some 60 bytes.
std::string printable(std::string_view key);
/// `put_if_absent "k" (4096 bytes)`.
std::string describe(const Operation& operation);
/// `put_if_absent "k" (4096 bytes) of process 1`, or `of the survivor`.
std::string describe_operation(const History& history, std::uint32_t process,
                               std::uint32_t operation);
/// The payload's writer: `put "k" (4096 bytes) of process 1`, or `the setup's put "k"`.
std::string describe_payload(const History& history, std::size_t payload);
/// What disturbed the run: foreign objects; and in order: kills, errors, short writes, changes of
/// turn in the middle of an operation.
std::vector<std::string> describe_disturbances(const History& history);
/// The same for the id of a finding: no numbers, no keys, no errnos.
std::string disturbance_signature(const History& history);

}  // namespace crashgate::harness
