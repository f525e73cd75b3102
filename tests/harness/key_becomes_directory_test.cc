// "a" and "a/b" exclude each other: one process is in the middle of an operation on the one while
// another makes it give way to the other. Once the production store's remove reported EISDIR here.
#include <gtest/gtest.h>

#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"
#include "tests/harness/run_fixture.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;

// Storage calls of a process until the end of that operation.
std::uint32_t calls_up_to(const History& history, std::uint32_t process, std::uint32_t operation) {
  std::uint32_t calls = 0;
  for (std::uint32_t i = 0; i <= operation; ++i)
    calls += history.processes[process].events[i].calls;
  return calls;
}

class KeyBecomesDirectory : public RunFixture {
 protected:
  // Runs the plan over the production store and over the base of the known-bad ones, and again with
  // all changes of turn that `places_of` the first run gives; answers how many runs those were.
  template <typename PlacesOf>
  int expect_good(const Plan& plan, PlacesOf places_of) {
    int runs = 0;
    for (const std::string_view store : {"local-file", "list-fails-on-vanished-fixed"}) {
      auto runner = runner_for(store);
      const auto first = runner.run(plan);
      EXPECT_TRUE(first.has_value() && judge(*first).empty()) << store;
      if (!first) continue;
      for (const auto& preemptions : places_of(*first)) {
        Plan changed = plan;
        changed.preemptions = preemptions;
        const auto history = runner.run(changed);
        EXPECT_TRUE(history.has_value());
        if (!history) continue;
        ++runs;
        for (const auto& violation : judge(*history)) {
          ADD_FAILURE() << store << ": " << violation.message;
          for (const auto& line : describe_disturbances(*history)) ADD_FAILURE() << line;
        }
      }
    }
    return runs;
  }
};

// Process 1 runs at every storage call of process 0.
std::vector<std::vector<Preemption>> one_change(const History& history) {
  std::vector<std::vector<Preemption>> places;
  for (std::uint32_t step = 2; step <= calls_up_to(history, 0, 1); ++step)
    places.push_back({{step, 1}});
  return places;
}

TEST_F(KeyBecomesDirectory, WhileItIsOperatedOn) {
  for (const auto kind : {Kind::kRemove, Kind::kPut, Kind::kPutIfAbsent, Kind::kGet,
                          Kind::kGetRange, Kind::kExists, Kind::kList}) {
    for (const std::string key : {"a", "a/b"}) {
      Plan plan;
      plan.setup = {{.kind = Kind::kPut, .key = "a", .size = 0}};
      plan.workers = {{{.kind = kind, .key = kind == Kind::kList ? "" : key, .length = 10}},
                      {{.kind = Kind::kRemove, .key = "a"},
                       {.kind = Kind::kPutIfAbsent, .key = "a/b", .size = 0}}};
      EXPECT_GT(expect_good(plan, one_change), 8) << to_string(kind) << " " << key;
    }
  }
}

// Process 1 puts "a", and process 0 finds it when it is about to make the directory; process 1
// removes "a", and process 0 does not find the directory.
TEST_F(KeyBecomesDirectory, WhileAnObjectComesAndGoesThere) {
  Plan plan;
  plan.workers = {
      {{.kind = Kind::kPut, .key = "a/b", .size = 0}},
      {{.kind = Kind::kPut, .key = "a", .size = 0}, {.kind = Kind::kRemove, .key = "a"}}};
  plan.preemptions = {{1, 1}};  // in the first run process 1 is not hindered
  const auto places_of = [](const History& history) {
    std::vector<std::vector<Preemption>> places;
    const auto visit = calls_up_to(history, 1, 1);
    for (std::uint32_t step = 2; step <= calls_up_to(history, 0, 1); ++step)
      places.push_back({{step, 1}, {step + visit, 0}, {step + visit + 1, 1}});
    return places;
  };
  EXPECT_GT(expect_good(plan, places_of), 30);
}

}  // namespace
}  // namespace crashgate::harness
