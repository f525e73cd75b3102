// Plans: as JSON and back, what is refused, and what the generator draws.
#include "harness/plan/plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "faultinject/shared_page.h"
#include "harness/engine/generator.h"
#include "harness/plan/payload.h"

namespace crashgate::harness {
namespace {

using faultinject::Action;
using nlohmann::json;

bool equal(const Fault& a, const Fault& b) {
  return a.process == b.process && a.operation == b.operation && a.rule == b.rule;
}

bool equal(const Plan& a, const Plan& b) {
  return a.setup == b.setup && a.workers == b.workers &&
         std::ranges::equal(a.faults, b.faults,
                            [](const Fault& x, const Fault& y) { return equal(x, y); }) &&
         a.preemptions == b.preemptions && a.same_process_ids == b.same_process_ids &&
         a.descriptor_limit == b.descriptor_limit && a.disk_size == b.disk_size &&
         a.foreign == b.foreign;
}

// Without what an operation of its kind makes no use of, and JSON leaves out.
Plan essence(Plan plan) {
  const auto strip = [](std::vector<Operation>& operations) {
    for (auto& operation : operations) {
      if (!carries_payload(operation.kind)) operation.size = 0;
      if (operation.kind != OperationKind::kGetRange) operation.offset = operation.length = 0;
    }
  };
  strip(plan.setup);
  std::ranges::for_each(plan.workers, strip);
  return plan;
}

Result<Plan> reread(const Plan& plan) {
  return plan_from_json(json::parse(to_json(plan).dump()));
}

json small_plan() {
  return json::parse(R"({
    "setup": [{"operation": "put", "key": "k", "size": 5}],
    "workers": [[{"operation": "get", "key": "k"}], [{"operation": "list", "prefix": ""}]],
    "faults": [{"process": 0, "operation": 1, "rule": "all:when=1:kill"}],
    "preemptions": [{"step": 2, "process": 1}, {"step": 4, "process": 0}]})");
}

void expect_refused(const json& plan, const std::string& why) {
  const auto read = plan_from_json(plan);
  ASSERT_FALSE(read.has_value()) << why;
  EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument) << why;
  EXPECT_FALSE(read.error().path.empty()) << why;
}

TEST(PlanJson, GivesGeneratedPlansBack) {
  EXPECT_TRUE(rc::check("generated plans", [] {
    const auto plan = generate_plan(*rc::gen::arbitrary<std::uint64_t>(),
                                    *rc::gen::arbitrary<std::uint64_t>(), true);
    const auto read = reread(plan);
    RC_ASSERT(read.has_value());
    RC_ASSERT(equal(*read, essence(plan)));
  }));
}

TEST(PlanJson, GivesEveryMemberBack) {
  Plan plan;
  plan.setup = {{.kind = OperationKind::kRemove, .key = std::string("\0\xff\\\" /", 6)}};
  plan.workers = {
      {{.kind = OperationKind::kGetRange, .key = "k", .offset = UINT64_MAX, .length = 3},
       {.kind = OperationKind::kList, .key = "pre\\x41fix"},
       {.kind = OperationKind::kRecover},
       {.kind = OperationKind::kExists, .key = "k"},
       {.kind = OperationKind::kPutIfAbsent, .key = "k", .size = std::uint64_t{1} << 31}}};
  plan.faults = {{1, 1, rule_at(3, UINT64_MAX, Action::kKillMid)},
                 {0, 5, rule_at(2, 4, Action::kError, 28)},
                 {0, 0, rule_at(1, 1, Action::kShort, 511)}};
  plan.preemptions = {{3, 0}, {3, 0}, {9, 0}};
  plan.same_process_ids = true;
  plan.descriptor_limit = 7;
  plan.disk_size = 1 << 20;
  plan.foreign = {{ForeignKind::kSymlinkToFile, "d/\xff"}, {ForeignKind::kDirectory, "d/e"}};
  const auto read = reread(plan);
  ASSERT_TRUE(read.has_value()) << to_string(read.error());
  EXPECT_TRUE(equal(*read, plan)) << to_json(*read) << to_json(plan);
}

TEST(PlanJson, TakesASmallPlan) {
  const auto read = plan_from_json(small_plan());
  ASSERT_TRUE(read.has_value()) << to_string(read.error());
  EXPECT_EQ(read->workers.size(), 2U);
}

TEST(PlanJson, RefusesWhatIsNoPlan) {
  for (const auto* text :
       {"null", "3", "\"x\"", "[]", "{}", R"({"setup": []})", R"({"workers": [[]]})"}) {
    expect_refused(json::parse(text), text);
  }
  for (const auto* member : {"setup", "workers", "faults", "preemptions"}) {
    auto plan = small_plan();
    plan.erase(member);
    expect_refused(plan, std::string("no ") + member);
    plan[member] = "text";
    expect_refused(plan, std::string("text for ") + member);
    plan[member] = json::array({17});
    expect_refused(plan, std::string("numbers in ") + member);
  }
}

TEST(PlanJson, RefusesBadMembers) {
  struct Change {
    const char* pointer;
    json value;
  };
  const Change changes[] = {
      {"/setup/0/operation", "open"},
      {"/setup/0/operation", "rename"},
      {"/setup/0/operation", 1},
      {"/setup/0/key", 3},
      {"/setup/0/key", "\\"},
      {"/setup/0/key", "\\x"},
      {"/setup/0/key", "\\x1"},
      {"/setup/0/key", "\\xg0"},
      {"/setup/0/key", "\\n"},
      {"/setup/0/size", "big"},
      {"/setup/0/size", (std::uint64_t{1} << 31) + 1},
      {"/faults/0/rule", ""},
      {"/faults/0/rule", "all:when=0:kill"},
      {"/faults/0/rule", "nonsense"},
      {"/faults/0/process", "one"},
      {"/preemptions/0/step", 5},  // not ascending then
      {"/preemptions/0/step", nullptr},
      {"/same_process_ids", 3},
      {"/descriptor_limit", "few"},
      {"/disk_size", json::array()},
      {"/setup/0/size", -1},
      {"/faults/0/process", std::uint64_t{1} << 32},
      {"/faults/0/operation", std::uint64_t{1} << 32},
      {"/preemptions/0/step", std::uint64_t{1} << 32},
      {"/preemptions/0/step", 1.5},
      {"/preemptions/0/process", std::uint64_t{1} << 32},
      {"/descriptor_limit", std::uint64_t{1} << 32},
      {"/descriptor_limit", -1},
      {"/disk_size", -1},
      {"/foreign", "fifo"},
      {"/foreign/0", {{"kind", "fifo"}}},
      {"/foreign/0", {{"kind", "file"}, {"path", "x"}}},
      {"/foreign/0", {{"kind", "fifo"}, {"path", "../x"}}},
      {"/foreign/0", {{"kind", "fifo"}, {"path", "/x"}}},
      {"/foreign/0", {{"kind", "fifo"}, {"path", "x\\x00"}}},
      {"/foreign", json::array({{{"kind", "symlink-to-directory"}, {"path", "x"}},
                                {{"kind", "fifo"}, {"path", "x/y"}}})},
  };
  for (const auto& [pointer, value] : changes) {
    auto plan = small_plan();
    plan[json::json_pointer(pointer)] = value;
    expect_refused(plan, pointer + value.dump());
  }
}

TEST(PlanJson, RefusesWhatRefersToNothing) {
  struct Change {
    const char* pointer;
    std::int64_t value;
  };
  // Processes are the two workers, the survivor that is killed, and the one after it.
  const Change changes[] = {{"/faults/0/process", 4},      {"/faults/0/process", -1},
                            {"/faults/0/operation", 2},    {"/faults/0/operation", -1},
                            {"/preemptions/1/process", 2}, {"/preemptions/1/process", -1}};
  for (const auto& [pointer, value] : changes) {
    auto plan = small_plan();
    plan[json::json_pointer(pointer)] = value;
    expect_refused(plan, pointer + std::to_string(value));
  }
  auto killed_survivor = small_plan();
  killed_survivor["faults"][0]["process"] = 2;
  EXPECT_TRUE(plan_from_json(killed_survivor).has_value());
}

TEST(PlanJson, KeepsTheLimits) {
  const auto with = [](const char* member, std::size_t count, const json& element) {
    auto plan = small_plan();
    plan["faults"] = json::array();
    plan["preemptions"] = json::array();
    plan[member] = json::array();
    for (std::size_t i = 0; i < count; ++i) plan[member].push_back(element);
    return plan;
  };
  const json get{{"operation", "get"}, {"key", "k"}};
  const json list{{"operation", "list"}};
  const json fault{{"process", 0}, {"operation", 1}, {"rule", "all:when=1:error=EIO"}};
  const json preemption{{"step", 3}, {"process", 1}};
  struct Limit {
    const char* member;
    std::size_t most;
    json element;
  };
  const Limit limits[] = {
      {"workers", kMaxWorkers, json::array({get})},
      {"setup", kMaxOperations, list},
      {"faults", faultinject::kMaxRules, fault},
      {"preemptions", faultinject::kMaxPreemptions, preemption},
  };
  for (const auto& [member, most, element] : limits) {
    const auto at_limit = plan_from_json(with(member, most, element));
    EXPECT_TRUE(at_limit.has_value()) << member << to_string(at_limit.error());
    expect_refused(with(member, most + 1, element), member);
  }
  expect_refused(with("workers", 0, {}), "no worker");
}

// What is derived from a plan has places of fixed number, too.
TEST(PlanJson, RefusesMoreThanARunHasRoomFor) {
  const auto with_keys = [](std::size_t count, const char* operation) {
    auto plan = small_plan();
    plan["faults"] = json::array();
    for (std::size_t i = 0; i < count; ++i) {
      plan["workers"][0].push_back({{"operation", operation}, {"key", "k" + std::to_string(i)}});
    }
    return plan;
  };
  for (std::size_t count = 1; count <= kMaxOperations; ++count) {
    for (const auto* operation : {"get", "put"}) {
      const auto plan = plan_from_json(with_keys(count, operation));
      if (!plan) continue;
      const auto survivor = survivor_operations(*plan);
      EXPECT_LE(survivor.size(), kMaxOperations) << count;
      EXPECT_LE(keys_of(*plan).size(), 64U) << count;
      EXPECT_LE(payloads_of(*plan, survivor, survivor_count(*plan)).size(), kMaxPayloads);
    }
  }
  EXPECT_TRUE(plan_from_json(with_keys(8, "put")).has_value());
  expect_refused(with_keys(kMaxOperations - 1, "get"), "many keys");

  // Every operation on one key is a bit of a word for the search.
  auto crowded = small_plan();
  crowded["faults"] = json::array();
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t worker = 0; worker < 2; ++worker) {
      crowded["workers"][worker].push_back({{"operation", "get"}, {"key", "k"}});
    }
  }
  expect_refused(crowded, "80 operations on one key");

  // Every killed survivor is followed by one more process.
  auto deadly = small_plan();
  deadly["workers"] = json::array({json::array({{{"operation", "list"}}})});
  deadly["setup"] = json::array();
  deadly["preemptions"] = json::array();
  deadly["faults"] = json::array();
  for (std::uint32_t process = 1; process <= faultinject::kMaxProcesses; ++process) {
    deadly["faults"].push_back(
        {{"process", process}, {"operation", 1}, {"rule", "all:when=1:kill"}});
  }
  expect_refused(deadly, "sixteen survivors killed");
}

TEST(Plan, KeysAreSortedAndPrefixesAreNone) {
  Plan plan;
  plan.setup = {{.kind = OperationKind::kPut, .key = "b"}};
  plan.workers = {
      {{.kind = OperationKind::kGet, .key = "c"},
       {.kind = OperationKind::kList, .key = "prefix"},
       {.kind = OperationKind::kRecover}},
      {{.kind = OperationKind::kRemove, .key = "a"}, {.kind = OperationKind::kExists, .key = "b"}}};
  EXPECT_EQ(keys_of(plan), (std::vector<std::string>{"a", "b", "c"}));
}

TEST(Plan, KnowsConflictingKeys) {
  const auto conflicts = [](std::vector<std::string> keys) {
    Plan plan;
    plan.workers.emplace_back();
    for (auto& key : keys) plan.workers[0].push_back({.key = std::move(key)});
    return has_conflicting_keys(plan);
  };
  EXPECT_TRUE(conflicts({"a", "a/b"}));
  EXPECT_TRUE(conflicts({"a/b/c", "a-", "a"}));
  EXPECT_FALSE(conflicts({"a", "ab", "a.b", "b/a"}));
}

TEST(Plan, SurvivorRecoversFirstAndLooksAtEveryKey) {
  Plan plan;
  plan.workers = {{{.key = "x"}, {.key = "y"}}};
  const auto operations = survivor_operations(plan);
  ASSERT_FALSE(operations.empty());
  EXPECT_EQ(operations[0].kind, OperationKind::kRecover);
  for (const std::string key : {"x", "y"}) {
    for (const auto kind :
         {OperationKind::kGet, OperationKind::kExists, OperationKind::kPutIfAbsent}) {
      EXPECT_TRUE(std::ranges::any_of(operations, [&](const Operation& one) {
        return one.kind == kind && one.key == key;
      })) << key;
    }
  }
  EXPECT_TRUE(std::ranges::any_of(
      operations, [](const Operation& one) { return one.kind == OperationKind::kList; }));
}

TEST(Plan, HasASurvivorMoreThanItKills) {
  Plan plan;
  plan.workers = {{}, {}};
  EXPECT_EQ(survivor_count(plan), 1U);
  plan.faults = {{0, 0, rule_at(1, 1, Action::kKillBefore)},
                 {2, 0, rule_at(1, 1, Action::kError, 5)}};
  EXPECT_EQ(survivor_count(plan), 1U);
  plan.faults.push_back({2, 1, rule_at(1, 1, Action::kKillAfter)});
  plan.faults.push_back({2, 0, rule_at(9, 9, Action::kKillMid)});
  EXPECT_EQ(survivor_count(plan), 2U);
}

std::string text_of(std::uint64_t seed, std::uint64_t number) {
  return to_json(generate_plan(seed, number, true)).dump();
}

TEST(Generator, GivesTheSamePlanForTheSameNumber) {
  std::vector<std::string> first;
  for (std::uint64_t number = 0; number < 100; ++number) first.push_back(text_of(7, number));
  for (std::uint64_t number = 100; number-- > 0;) EXPECT_EQ(text_of(7, number), first[number]);
}

TEST(Generator, GivesOtherPlansForOtherNumbersAndSeeds) {
  std::set<std::string> plans;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    for (std::uint64_t number = 0; number < 100; ++number) plans.insert(text_of(seed, number));
  }
  EXPECT_EQ(plans.size(), 300U);
}

TEST(Generator, GivesPlansThatReferToWhatTheyHave) {
  bool same_ids = false;
  bool conflicts = false;
  std::set<Action> actions;
  for (std::uint64_t number = 0; number < 500; ++number) {
    const auto plan = generate_plan(3, number, true);
    EXPECT_TRUE(reread(plan).has_value()) << number;
    EXPECT_GE(plan.workers.size(), 2U);
    same_ids = same_ids || plan.same_process_ids;
    conflicts = conflicts || has_conflicting_keys(plan);
    for (const auto& fault : plan.faults) actions.insert(fault.rule.action);
    EXPECT_FALSE(has_conflicting_keys(Plan{.workers = {plan.setup}})) << number;
  }
  EXPECT_TRUE(same_ids);
  EXPECT_TRUE(conflicts);
  EXPECT_EQ(actions.size(), 5U);
}

TEST(Generator, KeepsProcessIdsApartWhereToldTo) {
  for (std::uint64_t number = 0; number < 500; ++number) {
    EXPECT_FALSE(generate_plan(3, number, false).same_process_ids);
  }
}

}  // namespace
}  // namespace crashgate::harness
