// Litmus programs on recorded disks: the short deterministic part of `crashgate litmus`, and models
// that are wrong on purpose.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "faultinject/disk/recorded_disk.h"
#include "harness/litmus/litmus_run.h"

namespace crashgate::harness {
namespace {

class LitmusDiskTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const auto why = faultinject::why_no_recorded_disk(); !why.empty()) GTEST_SKIP() << why;
    const auto* file_system = find_file_system(GetParam());
    if (const auto why = why_no_file_system(*file_system); !why.empty()) GTEST_SKIP() << why;
    options_.file_systems = {{.file_system = file_system}};
    options_.disk_state_limit = 40;
    options_.jobs = 2;
  }

  void add(std::string_view name) {
    for (const auto& program : litmus_programs()) {
      if (program.name == name) options_.programs.push_back(program);
    }
  }

  // All recordings of the programs added, one after the other.
  std::vector<LitmusResult> run() {
    const auto made = run_litmus(options_);
    EXPECT_TRUE(made.has_value()) << to_string(made.error());
    return made ? made->results : std::vector<LitmusResult>();
  }

  LitmusOptions options_;
};

std::set<std::string> outcomes_of(const std::vector<LitmusResult>& results,
                                  const std::string& program) {
  std::set<std::string> outcomes;
  for (const auto& result : results) {
    if (result.program != program) continue;
    for (const auto& [outcome, count] : result.outcomes_seen) outcomes.insert(outcome);
  }
  return outcomes;
}

std::set<std::string> contradictions_of(const std::vector<LitmusResult>& results) {
  std::set<std::string> texts;
  for (const auto& result : results)
    texts.insert(result.contradictions.begin(), result.contradictions.end());
  return texts;
}

TEST_P(LitmusDiskTest, NothingIsSeenThatTheModelForbids) {
  for (const auto* name : {"replace", "replace, source and directory synced", "new name",
                           "create, fsync, new ancestors", "two overwrites of two files",
                           "sync_file_range of an overwrite", "fdatasync after extension"})
    add(name);
  const auto results = run();
  EXPECT_GE(results.size(), options_.programs.size() * 4);
  EXPECT_EQ(contradictions_of(results), std::set<std::string>());
  std::uint64_t states = 0;
  for (const auto& result : results) {
    states += result.states;
    EXPECT_TRUE(result.model_exhaustive) << result.program;
    EXPECT_GT(result.states, 1u) << result.program;
  }
  fmt::print("{} recovered disk states of {}\n", states, GetParam());

  using Set = std::set<std::string>;
  EXPECT_EQ(outcomes_of(results, "replace, source and directory synced"), Set{"f new"});
  EXPECT_EQ(outcomes_of(results, "create, fsync, new ancestors"), Set{"d/e/f new"});
  EXPECT_EQ(outcomes_of(results, "fdatasync after extension"), Set{"f new"});
  EXPECT_TRUE(outcomes_of(results, "sync_file_range of an overwrite").contains("f old"));
}

// Says that a file system does what it does not do: the comparison must not believe it.
TEST_P(LitmusDiskTest, AModelThatIsTooStrictIsContradicted) {
  PersistenceModel strict = model_of(*options_.file_systems[0].file_system);
  strict.completed_calls_persist = true;
  options_.models = {&strict};
  add("replace");
  EXPECT_FALSE(contradictions_of(run()).empty());
}

INSTANTIATE_TEST_SUITE_P(FileSystems, LitmusDiskTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& tested) { return tested.param; });

TEST(LitmusRun, SaysWhatAProgramCannotDo) {
  if (const auto why = faultinject::why_no_recorded_disk(); !why.empty()) GTEST_SKIP() << why;
  LitmusOptions options;
  options.file_systems = {{.file_system = find_file_system("ext4")}};
  options.programs = {{.name = "impossible", .steps = {steps::unlink("absent")}, .looks = {"f"}}};
  const auto run = run_litmus(options);
  ASSERT_FALSE(run.has_value());
  EXPECT_NE(to_string(run.error()).find("unlink(\"absent\"): No such file or directory"),
            std::string::npos)
      << to_string(run.error());
}

}  // namespace
}  // namespace crashgate::harness
