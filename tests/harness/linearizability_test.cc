// The search for an explaining order: known answers, and a twin that simply tries every order.
#include "harness/judge/linearizability.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace crashgate::harness {

void showValue(const KeyOperation& operation, std::ostream& out) {
  out << "{effect " << static_cast<int>(operation.effect) << (operation.required ? "" : " optional")
      << " [" << operation.begin << ", " << operation.end << "] payload " << operation.payload
      << " matches " << operation.matches << "}";
}

namespace {

using Operations = std::vector<KeyOperation>;

KeyOperation at(std::uint64_t begin, std::uint64_t end, KeyOperation operation) {
  operation.begin = begin;
  operation.end = end;
  return operation;
}
KeyOperation optional(KeyOperation operation) {
  operation.required = false;
  return operation;
}
KeyOperation write(std::int32_t payload) {
  return {.effect = Effect::kWrite, .payload = payload};
}
KeyOperation claim(std::int32_t payload) {
  return {.effect = Effect::kWriteIfAbsent, .payload = payload};
}
KeyOperation erase() {
  return {.effect = Effect::kErase};
}
KeyOperation read(std::uint64_t matches) {
  return {.effect = Effect::kReadPresent, .matches = matches};
}
KeyOperation read_absent() {
  return {.effect = Effect::kReadAbsent};
}

TEST(Linearizability, NothingIsExplained) {
  EXPECT_TRUE(is_linearizable({}));
}

TEST(Linearizability, AKeyIsAbsentAtFirst) {
  EXPECT_TRUE(is_linearizable({at(1, 2, read_absent())}));
  EXPECT_FALSE(is_linearizable({at(1, 2, read(UINT64_MAX))}));
}

TEST(Linearizability, AReadGivesTheLastWrite) {
  const auto first = at(1, 2, write(0));
  const auto second = at(3, 4, write(1));
  EXPECT_TRUE(is_linearizable({first, second, at(5, 6, read(0b10))}));
  EXPECT_FALSE(is_linearizable({first, second, at(5, 6, read(0b01))}));
  EXPECT_FALSE(is_linearizable({first, second, at(5, 6, read_absent())}));
  EXPECT_TRUE(is_linearizable({first, second, at(5, 6, read(0b11))}));
  EXPECT_FALSE(is_linearizable({first, at(5, 6, read(0))}));
}

TEST(Linearizability, ConcurrentWritesComeInAnyOrderButInOne) {
  const auto first = at(1, 4, write(0));
  const auto second = at(2, 3, write(1));
  EXPECT_TRUE(is_linearizable({first, second, at(5, 6, read(0b01))}));
  EXPECT_TRUE(is_linearizable({first, second, at(5, 6, read(0b10))}));
  EXPECT_FALSE(is_linearizable({first, second, at(5, 6, read(0b01)), at(7, 8, read(0b10))}));
}

TEST(Linearizability, IntervalsThatTouchAreConcurrent) {
  EXPECT_TRUE(is_linearizable({at(1, 3, write(0)), at(3, 5, read_absent())}));
  EXPECT_FALSE(is_linearizable({at(1, 3, write(0)), at(4, 5, read_absent())}));
}

TEST(Linearizability, OneWinnerBetweenRemovals) {
  EXPECT_TRUE(is_linearizable({at(1, 9, claim(0))}));
  EXPECT_FALSE(is_linearizable({at(1, 9, claim(0)), at(1, 9, claim(1))}));
  EXPECT_TRUE(is_linearizable({at(1, 2, claim(0)), at(3, 4, erase()), at(5, 6, claim(1))}));
  EXPECT_FALSE(is_linearizable({at(1, 2, claim(0)), at(3, 4, claim(1)), at(5, 6, erase())}));
}

TEST(Linearizability, WhatMayHaveHappenedMayBeUsedOnceOrNot) {
  const auto pending = at(3, 9, optional(write(1)));
  const auto before = at(1, 2, write(0));
  EXPECT_TRUE(is_linearizable({before, pending, at(4, 5, read(0b01))}));
  EXPECT_TRUE(is_linearizable({before, pending, at(4, 5, read(0b10))}));
  EXPECT_TRUE(is_linearizable({before, pending, at(4, 5, read(0b01)), at(6, 7, read(0b10))}));
  EXPECT_FALSE(is_linearizable({before, pending, at(4, 5, read(0b10)), at(6, 7, read(0b01))}));
}

TEST(Linearizability, WhatMayHaveHappenedHappensWithinItsInterval) {
  const auto before = at(1, 2, write(0));
  EXPECT_FALSE(is_linearizable({before, at(6, 9, optional(write(1))), at(4, 5, read(0b10))}));
  EXPECT_FALSE(is_linearizable(
      {before, at(3, 4, optional(write(1))), at(5, 6, read(0b01)), at(7, 8, read(0b10))}));
}

TEST(Linearizability, SixtyFourOperations) {
  Operations operations;
  for (std::uint64_t i = 0; i < 32; ++i) {
    const auto payload = static_cast<std::int32_t>(2 * i);
    operations.push_back(at(4 * i + 1, 4 * i + 2, write(payload)));
    operations.push_back(at(4 * i + 3, 4 * i + 4, read(std::uint64_t{1} << payload)));
  }
  EXPECT_TRUE(is_linearizable(operations));
  operations.back().matches = 1;
  EXPECT_FALSE(is_linearizable(operations));
}

// The twin: does this very order explain everything?
bool explains(const Operations& order) {
  std::optional<std::int32_t> value;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t later = i + 1; later < order.size(); ++later) {
      if (order[later].end < order[i].begin) return false;
    }
    switch (order[i].effect) {
      case Effect::kWriteIfAbsent:
        if (value.has_value()) return false;
        value = order[i].payload;
        break;
      case Effect::kWrite:
        value = order[i].payload;
        break;
      case Effect::kErase:
        value.reset();
        break;
      case Effect::kReadAbsent:
        if (value.has_value()) return false;
        break;
      case Effect::kReadPresent:
        if (!value.has_value() || order[i].matches / (1U << *value) % 2 == 0) return false;
        break;
    }
  }
  return true;
}

bool some_order_explains(const Operations& operations) {
  for (std::uint32_t chosen = 0; chosen < 1U << operations.size(); ++chosen) {
    std::vector<std::size_t> indices;
    bool all_required = true;
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if ((chosen >> i & 1U) != 0)
        indices.push_back(i);
      else
        all_required = all_required && !operations[i].required;
    }
    if (!all_required) continue;
    do {
      Operations order;
      for (const auto index : indices) order.push_back(operations[index]);
      if (explains(order)) return true;
    } while (std::ranges::next_permutation(indices).found);
  }
  return false;
}

rc::Gen<KeyOperation> any_operation() {
  return rc::gen::map(
      rc::gen::tuple(
          rc::gen::element(Effect::kWrite, Effect::kWriteIfAbsent, Effect::kErase,
                           Effect::kReadPresent, Effect::kReadPresent, Effect::kReadAbsent),
          rc::gen::weightedElement<bool>({{3, true}, {1, false}}),
          rc::gen::inRange<std::uint64_t>(0, 12), rc::gen::inRange<std::uint64_t>(0, 8),
          rc::gen::inRange(0, 3), rc::gen::inRange<std::uint64_t>(1, 8)),
      [](const auto& drawn) {
        const auto& [effect, required, begin, length, payload, matches] = drawn;
        return KeyOperation{effect, required, begin, begin + length, payload, matches};
      });
}

rc::Gen<Operations> any_operations() {
  return rc::gen::mapcat(rc::gen::inRange<std::size_t>(0, 7), [](std::size_t count) {
    return rc::gen::container<Operations>(count, any_operation());
  });
}

TEST(Linearizability, AgreesWithTryingEveryOrder) {
  EXPECT_TRUE(rc::check("generated histories", [] {
    for (int i = 0; i < 20; ++i) {
      const auto operations = *any_operations();
      RC_ASSERT(is_linearizable(operations) == some_order_explains(operations));
    }
  }));
}

// Both answers, often: every history of three operations out of a few that overlap.
TEST(Linearizability, AgreesOnEverySmallHistory) {
  Operations choices;
  for (const auto& [begin, end] : {std::pair{1, 2}, {3, 4}, {1, 4}, {2, 3}}) {
    for (const auto& operation :
         {write(0), write(1), optional(write(1)), claim(0), claim(1), optional(claim(0)), erase(),
          optional(erase()), read(0b01), read(0b10), read_absent()}) {
      choices.push_back(
          at(static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end), operation));
    }
  }
  std::size_t answers[2] = {0, 0};
  for (std::size_t a = 0; a < choices.size(); ++a) {
    for (std::size_t b = a; b < choices.size(); ++b) {
      for (std::size_t c = b; c < choices.size(); ++c) {
        const Operations operations{choices[a], choices[b], choices[c]};
        const bool answer = is_linearizable(operations);
        ++answers[answer ? 1 : 0];
        ASSERT_EQ(answer, some_order_explains(operations)) << a << " " << b << " " << c;
      }
    }
  }
  EXPECT_GT(answers[0], 1000U);
  EXPECT_GT(answers[1], 1000U);
}

}  // namespace
}  // namespace crashgate::harness
