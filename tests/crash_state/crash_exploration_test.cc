// What an exploration of crash states keeps of those that are rejected.
#include "harness/crash_state/crash_exploration.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

const Judgement kWrong{false, FindingKind::kChecker, "wrong", "wrong", ""};

bool has(const CrashState& state, const std::string& name) {
  return state.tree->files.at(state.tree->root).entries.contains(name);
}

TEST(CrashExploration, KeepsTheSameExampleWhateverTheNumberOfJobs) {
  TraceBuilder builder;
  for (const auto* name : {"a", "b", "c"}) {
    builder.append(builder.create(name), "text");
    builder.acknowledge(name);
  }
  const auto trace = builder.finish();
  // Many states lose as little.
  const auto judge = [](const CrashState& state) -> Result<Judgement> {
    if (state.lost.empty()) return Judgement{};
    return kWrong;
  };
  const std::vector<CrashSubject> subjects{{&trace, [&](unsigned) { return StateJudge(judge); }}};
  CrashExplorationOptions options{.models = {find_model("posix"), find_model("ext4")}};
  const auto explored = explore_crash_states(subjects, options);
  ASSERT_TRUE(explored);
  ASSERT_EQ(explored->rejections.size(), 1U);
  EXPECT_EQ(explored->rejections[0].lost.size(), 1U);
  for (const unsigned jobs : {2U, 3U, 5U, 7U}) {
    options.jobs = jobs;
    const auto again = explore_crash_states(subjects, options);
    ASSERT_TRUE(again);
    ASSERT_EQ(again->rejections.size(), 1U);
    EXPECT_EQ(to_json(again->rejections[0]), to_json(explored->rejections[0])) << jobs << " jobs";
  }
}

// The entry of "f" is lost, and told of; what comes then leaves nothing behind.
struct LostEntry {
  LostEntry() {
    TraceBuilder builder;
    builder.append(builder.create("f"), "text");
    builder.acknowledge("done\n");
    for (int i = 0; i < 3; ++i) {
      builder.create("temporary");
      builder.unlink("temporary");
    }
    trace = builder.finish();
    CrashStateEnumerator states(trace, *find_model("posix"), {});
    const auto* state = states.state_without(trace.events.size(), {0});
    EXPECT_NE(state, nullptr);
    rejection = {.judgement = kWrong,
                 .models = {"posix"},
                 .model = "posix",
                 .crash_point = state->crash_point,
                 .acknowledgement_end = state->acknowledgement_end,
                 .lost = state->lost};
  }
  Trace trace;
  Rejection rejection;
};

TEST(CrashExploration, AMinimalStateIsTheEarliest) {
  LostEntry given;
  ASSERT_EQ(given.rejection.crash_point, 9U);
  const auto judge = [](const CrashState& state) -> Result<Judgement> {
    if (has(state, "f") || state.acknowledgement_end == 0) return Judgement{};
    return kWrong;
  };
  const auto minimal = minimize_loss({.trace = &given.trace}, given.rejection, {}, judge);
  ASSERT_TRUE(minimal);
  EXPECT_EQ(minimal->crash_point, 4U);  // the first unlink is under way, and done
  EXPECT_EQ(minimal->acknowledgement_end, 5U);
  CrashStateEnumerator states(given.trace, *find_model("posix"), {});
  const auto* state = states.state_without(minimal->crash_point, minimal->lost);
  ASSERT_NE(state, nullptr);
  EXPECT_FALSE(has(*state, "f"));
  EXPECT_FALSE(has(*state, "temporary"));
}

TEST(CrashExploration, NamesAllModelsThatAllowAState) {
  LostEntry given;
  std::vector<const PersistenceModel*> all;
  for (const auto& model : models()) all.push_back(&model);
  given.rejection.crash_point = 3;
  CrashStateEnumerator states(given.trace, *find_model("posix"), {});
  const auto* state = states.next();
  while (state != nullptr && (state->crash_point != 3 || has(*state, "f"))) state = states.next();
  ASSERT_NE(state, nullptr);
  given.rejection.lost = state->lost;
  add_models_that_allow(given.rejection, {.trace = &given.trace}, all, {});
  EXPECT_EQ(given.rejection.models, (std::set<std::string>{"btrfs", "ext4", "posix", "xfs"}));
  given.rejection.models = {"posix"};
  add_models_that_allow(given.rejection, {.trace = &given.trace, .models = {"posix", "xfs"}}, all,
                        {});
  EXPECT_EQ(given.rejection.models, (std::set<std::string>{"posix", "xfs"}));
}

}  // namespace
}  // namespace crashgate::harness
