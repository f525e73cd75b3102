// Shrinking: every step is a plan, is smaller, and the end of all steps fails as the beginning did.
#include "harness/engine/minimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "harness/engine/generator.h"
#include "harness/judge/oracle.h"
#include "tests/harness/run_fixture.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;
using faultinject::Action;

std::string text(const Plan& plan) {
  return to_json(plan).dump();
}

void expect_valid(const Plan& plan) {
  ASSERT_FALSE(plan.workers.empty());
  const auto survivor = survivor_operations(plan);
  for (const auto& fault : plan.faults) {
    ASSERT_LT(fault.process, plan.workers.size() + survivor_count(plan)) << text(plan);
    ASSERT_LE(fault.operation, operations_of(plan, survivor, fault.process).size()) << text(plan);
    ASSERT_GE(fault.rule.first, 1U);
    ASSERT_LE(fault.rule.first, fault.rule.last);
  }
  for (const auto& preemption : plan.preemptions) {
    ASSERT_LT(preemption.process, plan.workers.size()) << text(plan);
    ASSERT_GE(preemption.step, 1U);
  }
  ASSERT_TRUE(std::ranges::is_sorted(plan.preemptions, {}, &Preemption::step)) << text(plan);
  ASSERT_TRUE(plan_from_json(to_json(plan)).has_value()) << text(plan);
}

// Compared from left to right. All are natural numbers, so no plan can be made smaller for ever.
using Measure = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, bool,
                           bool, bool, std::uint64_t, std::size_t, std::size_t, std::uint64_t,
                           std::uint64_t, std::uint64_t, std::uint32_t>;

Measure measure(const Plan& plan) {
  std::size_t operations = plan.setup.size();
  std::uint64_t bytes = 0;
  const auto add_bytes = [&](const std::vector<Operation>& list) {
    for (const auto& operation : list)
      bytes += carries_payload(operation.kind) ? operation.size : 0;
  };
  add_bytes(plan.setup);
  for (const auto& worker : plan.workers) {
    operations += worker.size();
    add_bytes(worker);
  }
  const auto keys = keys_of(plan);
  const std::string simple = "klmnop";
  std::size_t odd_keys = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) odd_keys += keys[i] != simple.substr(i, 1) ? 1 : 0;
  std::size_t endless = 0;
  std::uint64_t calls = 0;
  for (const auto& fault : plan.faults) {
    endless += fault.rule.last == UINT64_MAX ? 1 : 0;
    calls += fault.rule.first;
  }
  std::uint64_t steps = 0;
  for (const auto& preemption : plan.preemptions) steps += preemption.step;
  return {plan.workers.size(),
          operations,
          plan.faults.size(),
          plan.preemptions.size(),
          plan.foreign.size(),
          plan.same_process_ids,
          plan.disk_size != 0,
          plan.descriptor_limit != 0,
          bytes,
          odd_keys,
          endless,
          calls,
          steps,
          plan.disk_size,
          plan.descriptor_limit};
}

Plan with_survivor_faults(Plan plan) {
  const auto survivor = static_cast<std::uint32_t>(plan.workers.size());
  plan.faults.push_back({survivor, 1, rule_at(3, 3, Action::kKillBefore)});
  plan.faults.push_back({survivor, 0, rule_at(1, UINT64_MAX, Action::kError, 5)});
  return plan;
}

TEST(SmallerPlans, AreValidAndReallySmaller) {
  for (std::uint64_t number = 0; number < 300; ++number) {
    auto plan = generate_plan(11, number, true);
    if (number % 3 == 0) plan = with_survivor_faults(plan);
    if (number % 3 == 1) plan.disk_size = 1 << 20;
    if (number % 3 == 2) plan.descriptor_limit = 5;
    if (number % 2 == 1) plan.foreign = {{ForeignKind::kFifo, "x"}, {ForeignKind::kSocket, "y"}};
    for (const auto& smaller : smaller_plans(plan)) {
      expect_valid(smaller);
      if (HasFatalFailure()) return;
      ASSERT_LT(measure(smaller), measure(plan)) << text(smaller) << "\nof " << text(plan);
    }
  }
}

TEST(SmallerPlans, AreValidAllTheWayDown) {
  for (std::uint64_t number = 0; number < 60; ++number) {
    auto plan = with_survivor_faults(generate_plan(12, number, true));
    plan.disk_size = 1 << 20;
    plan.descriptor_limit = 5;
    plan.foreign = {{ForeignKind::kSymlinkToRoot, "k"}};
    // A different way down for each plan.
    for (std::size_t step = 0;; ++step) {
      const auto smaller = smaller_plans(plan);
      if (smaller.empty()) break;
      plan = smaller[(step * 7 + number) % smaller.size()];
      expect_valid(plan);
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(plan.workers.size(), 1U);
    EXPECT_TRUE(plan.workers[0].empty());
    EXPECT_TRUE(plan.faults.empty());
    EXPECT_TRUE(plan.preemptions.empty());
    EXPECT_TRUE(plan.setup.empty());
    EXPECT_EQ(plan.disk_size, 0U);
    EXPECT_EQ(plan.descriptor_limit, 0U);
    EXPECT_TRUE(plan.foreign.empty());
  }
}

TEST(SmallerPlans, RenumberWhatComesAfterWhatIsTakenAway) {
  Plan plan;
  plan.workers = {{{.key = "k"}}, {{.key = "k"}, {.key = "l"}}};
  plan.faults = {{1, 2, rule_at(1, 1, Action::kKillBefore)},
                 {2, 1, rule_at(1, 1, Action::kKillBefore)}};
  plan.preemptions = {{1, 1}};
  const auto smaller = smaller_plans(plan);
  const auto& without_first = smaller.at(0);
  ASSERT_EQ(without_first.workers.size(), 1U);
  ASSERT_EQ(without_first.faults.size(), 2U);
  EXPECT_EQ(without_first.faults[0].process, 0U);
  EXPECT_EQ(without_first.faults[1].process, 1U);
  ASSERT_EQ(without_first.preemptions.size(), 1U);
  EXPECT_EQ(without_first.preemptions[0].process, 0U);
  const bool moved = std::ranges::any_of(smaller, [](const Plan& one) {
    return one.workers.size() == 2 && one.workers[1].size() == 1 && one.workers[1][0].key == "l" &&
           one.faults.size() == 2 && one.faults[0].operation == 1;
  });
  EXPECT_TRUE(moved);
}

TEST(SmallerPlans, KeepNeighbouringKeysNeighbours) {
  Plan plan;
  plan.workers = {{{.key = "zz"}, {.key = "aa"}, {.kind = Kind::kGet, .key = "zz"}}};
  const auto smaller = smaller_plans(plan);
  const auto renamed =
      std::ranges::find_if(smaller, [](const Plan& one) { return keys_of(one).front() == "k"; });
  ASSERT_NE(renamed, smaller.end());
  EXPECT_EQ(renamed->workers[0][0].key, "l");
  EXPECT_EQ(renamed->workers[0][1].key, "k");
  EXPECT_EQ(renamed->workers[0][2].key, "l");
}

class MinimizerTest : public RunFixture {
 protected:
  static constexpr auto kNoDeadline = Clock::time_point::max();

  // Nothing more can be taken away without losing the violation.
  void expect_minimal(Runner& runner, const Minimized& minimized) {
    for (const auto& smaller : smaller_plans(minimized.plan)) {
      const auto history = runner.run(smaller);
      ASSERT_TRUE(history.has_value());
      EXPECT_TRUE(std::ranges::none_of(judge(*history), [&](const Violation& one) {
        return one.kind == minimized.violation.kind;
      })) << text(smaller);
    }
  }
};

// One mistake among much that does not matter.
TEST_F(MinimizerTest, StripsAKillToItsEssentials) {
  auto runner = runner_for("write-in-place");
  Plan plan;
  plan.setup = {{.kind = Kind::kPut, .key = "this", .size = 900},
                {.kind = Kind::kPut, .key = "another", .size = 10}};
  plan.workers = {{{.kind = Kind::kGet, .key = "another"},
                   {.kind = Kind::kPut, .key = "this", .size = 5000},
                   {.kind = Kind::kList}},
                  {{.kind = Kind::kExists, .key = "another"}}};
  plan.descriptor_limit = 50;
  if (why_no_small_disk().empty()) plan.disk_size = 1 << 20;
  Plan failing;
  FindingKind kind = FindingKind::kOrder;
  for (std::uint64_t call = 1; call < 40 && failing.workers.empty(); ++call) {
    plan.faults = {{0, 2, rule_at(call, call, Action::kKillMid)}};
    const auto history = runner.run(plan);
    ASSERT_TRUE(history.has_value());
    const auto violations = judge(*history);
    if (violations.empty()) continue;
    failing = plan;
    kind = violations.front().kind;
  }
  ASSERT_FALSE(failing.workers.empty());
  EXPECT_EQ(kind, FindingKind::kTorn);
  const auto minimized = minimize(runner, failing, kind, kNoDeadline);
  ASSERT_TRUE(minimized.has_value());
  EXPECT_EQ(minimized->violation.kind, kind);
  EXPECT_EQ(minimized->plan.workers.size(), 1U);
  EXPECT_EQ(minimized->plan.workers[0].size(), 1U);
  EXPECT_EQ(minimized->plan.faults.size(), 1U);
  EXPECT_EQ(minimized->plan.descriptor_limit, 0U);
  EXPECT_EQ(minimized->plan.disk_size, 0U);
  EXPECT_EQ(keys_of(minimized->plan), std::vector<std::string>{"k"});
  EXPECT_FALSE(minimized->history.processes.empty());
  EXPECT_EQ(text(minimized->history.plan), text(minimized->plan));
  expect_minimal(runner, *minimized);
}

TEST_F(MinimizerTest, KeepsTheOneChangeOfTurnThatMatters) {
  auto runner = runner_for("exists-then-put");
  Plan plan;
  plan.workers = {
      {{.kind = Kind::kPutIfAbsent, .key = "name", .size = 100}},
      {{.kind = Kind::kList}, {.kind = Kind::kPutIfAbsent, .key = "name", .size = 200}}};
  Plan failing;
  for (std::uint32_t step = 2; step < 60 && failing.workers.empty(); ++step) {
    plan.preemptions = {{step, 1}, {step + 100, 0}};
    const auto history = runner.run(plan);
    ASSERT_TRUE(history.has_value());
    const auto violations = judge(*history);
    if (!violations.empty() && violations.front().kind == FindingKind::kDuplicateWinner) {
      failing = plan;
    }
  }
  ASSERT_FALSE(failing.workers.empty());
  const auto minimized = minimize(runner, failing, FindingKind::kDuplicateWinner, kNoDeadline);
  ASSERT_TRUE(minimized.has_value());
  EXPECT_EQ(minimized->plan.workers.size(), 2U);
  EXPECT_EQ(minimized->plan.workers[1].size(), 1U);
  EXPECT_EQ(minimized->plan.preemptions.size(), 1U);
  expect_minimal(runner, *minimized);
}

TEST_F(MinimizerTest, SaysThatAPlanDoesNotFail) {
  auto runner = runner_for("local-file");
  Plan plan;
  plan.workers = {{{.kind = Kind::kPut, .key = "k", .size = 10}}};
  const auto minimized = minimize(runner, plan, FindingKind::kTorn, kNoDeadline);
  ASSERT_TRUE(minimized.has_value());
  EXPECT_TRUE(minimized->history.processes.empty());
  EXPECT_TRUE(minimized->history.calls.empty());
  EXPECT_EQ(minimized->runs, 1U);
}

// Another kind of violation is another finding.
TEST_F(MinimizerTest, DoesNotTakeOneKindForAnother) {
  auto runner = runner_for("write-in-place");
  Plan plan;
  plan.setup = {{.kind = Kind::kPut, .key = "k", .size = 900}};
  plan.workers = {{{.kind = Kind::kPut, .key = "k", .size = 5000}}};
  for (std::uint64_t call = 1; call < 20; ++call) {
    plan.faults = {{0, 1, rule_at(call, call, Action::kKillMid)}};
    const auto minimized = minimize(runner, plan, FindingKind::kDuplicateWinner, kNoDeadline);
    ASSERT_TRUE(minimized.has_value());
    EXPECT_TRUE(minimized->history.processes.empty());
  }
}

}  // namespace
}  // namespace crashgate::harness
