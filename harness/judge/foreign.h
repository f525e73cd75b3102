// What the contract asks of operations where something foreign is in the way: no object can be
// there, so nobody stores, finds or removes one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "harness/plan/history.h"

namespace crashgate::harness {

/// What is wrong with the answer of an operation whose key has something foreign in its way, or
/// with the answer of a list. Empty: nothing. Which error an operation gives, it may choose, unless
/// the error claims that an object is there or that something was done.
std::optional<std::string> judge_foreign_answer(const History& history, std::uint32_t process,
                                                std::uint32_t number);

}  // namespace crashgate::harness
