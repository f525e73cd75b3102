// The foreign engine: the production store touches nothing that is not its own, and whoever does is
// found, with one operation and one foreign object to show it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "harness/engine/engine.h"
#include "harness/engine/minimizer.h"
#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"
#include "tests/harness/run_fixture.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;

class ForeignEngine : public RunFixture {
 protected:
  EngineResult explore_store(std::string_view name) {
    EngineOptions options;
    const auto directory = ScratchDirectory::create_in(scratch_->path());
    EXPECT_TRUE(directory.has_value());
    options.explore.directory = directory->path();
    auto result = run_foreign_engine(*find_store(name), options);
    EXPECT_TRUE(result.has_value()) << to_string(result.error());
    return std::move(*result);
  }
};

TEST_F(ForeignEngine, PassesTheProductionStore) {
  const auto result = explore_store("local-file");
  EXPECT_TRUE(result.exhaustive);
  EXPECT_EQ(result.exploration.units_done, result.units);
  EXPECT_GT(result.exploration.tally.errors, 0U) << "openat2 was never missing";
  for (const auto& [cause, failure] : result.exploration.tally.failures)
    ADD_FAILURE() << failure.violation.message << to_json(failure.plan);
}

struct Mistake {
  std::string_view store;
  FindingKind kind;
  std::string_view message;  // part of it
  std::string_view foreign;  // in the way
};

TEST_F(ForeignEngine, FindsEachMistakeAndNamesItsCause) {
  const Mistake mistakes[] = {
      {"get-follows-symlinks", FindingKind::kErrorContract,
       "get \"x\" of process 0 succeeded, although no object can be at its key: it returned",
       "a symlink to a file outside the root stands at \"x\""},
      {"get-waits-for-fifo", FindingKind::kHang, "get \"x\" of process 0 did not return",
       "a FIFO that nobody else has open stands at \"x\""},
      {"list-follows-symlinks", FindingKind::kErrorContract, "lists \"x\", where no object can be",
       "a symlink to a file outside the root stands at \"x\""},
      {"list-follows-symlinks", FindingKind::kHang, "did not return",
       "a symlink to the root stands at \"x\""},
      {"put-through-symlink", FindingKind::kErrorContract, "\"file\" outside the root was changed",
       "a symlink to a directory outside the root stands at \"x\""},
  };
  for (const auto& mistake : mistakes) {
    const auto result = explore_store(mistake.store);
    const auto& failures = result.exploration.tally.failures;
    const auto found = std::ranges::find_if(failures, [&](const auto& failure) {
      const auto& violation = failure.second.violation;
      return violation.kind == mistake.kind &&
             violation.message.find(mistake.message) != std::string::npos;
    });
    ASSERT_NE(found, failures.end()) << mistake.store << ": " << mistake.message;
    auto runner = runner_for(mistake.store);
    const auto minimized =
        minimize(runner, found->second.plan, mistake.kind, Clock::time_point::max());
    ASSERT_TRUE(minimized.has_value());
    EXPECT_NE(minimized->violation.message.find(mistake.message), std::string::npos)
        << minimized->violation.message;
    const auto& plan = minimized->plan;
    EXPECT_EQ(plan.foreign.size(), 1U) << to_json(plan);
    EXPECT_LE(plan.workers[0].size(), 1U) << to_json(plan);  // none: the survivor shows it
    EXPECT_TRUE(plan.setup.empty()) << to_json(plan);
    EXPECT_TRUE(plan.faults.empty()) << to_json(plan);
    EXPECT_EQ(describe_disturbances(minimized->history),
              std::vector<std::string>{std::string(mistake.foreign)});
  }
}

TEST_F(ForeignEngine, LeavesNothingBesideTheRoot) {
  auto runner = runner_for("local-file");
  Plan plan;
  plan.foreign = {{ForeignKind::kSymlinkToDirectory, "d/x"}, {ForeignKind::kFifo, "f"}};
  plan.workers = {{{.kind = Kind::kGet, .key = "f"}, {.kind = Kind::kPut, .key = "k", .size = 10}}};
  std::string seen;
  RunOptions options;
  options.at_crash = [&](const std::string& root) {
    seen = root;
    EXPECT_TRUE(std::filesystem::is_fifo(root + "/f"));
    EXPECT_TRUE(std::filesystem::exists(root + "/d/x/sub/file"));
    struct stat status;
    ASSERT_EQ(::stat(root.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0700U);
  };
  const auto history = runner.run(plan, options);
  ASSERT_TRUE(history.has_value());
  EXPECT_TRUE(judge(*history).empty());
  EXPECT_FALSE(seen.empty());
}

// Long before the time limit, since waiting is all that it does.
TEST_F(ForeignEngine, SeesThatAProcessWaitsAtAFifo) {
  auto runner = runner_for("get-waits-for-fifo");
  Plan plan;
  plan.foreign = {{ForeignKind::kFifo, "f"}};
  plan.workers = {{{.kind = Kind::kGet, .key = "f"}}};
  const auto history = runner.run(plan, {.timeout = std::chrono::hours(1)});
  ASSERT_TRUE(history.has_value());
  EXPECT_TRUE(history->timed_out);
  EXPECT_TRUE(history->stuck);
  EXPECT_EQ(history->processes[0].events[1].outcome, Outcome::kPending);
}

}  // namespace
}  // namespace crashgate::harness
