// `crashgate check --recover`: what runs before the checker, and is cut by a second power loss.
#include "tests/check/check_fixture.h"

namespace crashgate::harness {
namespace {

/// A journal of one record: what was told is in the data, or in a whole journal.
constexpr const char* kSetup = "printf AAAA >data";
constexpr const char* kWorkload =
    "printf CCCC >journal; sync journal; sync .; echo committed; "
    "printf CCCC | dd of=data conv=notrunc,fsync 2>/dev/null; rm journal; sync .";
constexpr const char* kChecker =
    "[ ! -e journal ] || { echo not recovered >&2; exit 1; }; "
    "[ \"$(cat data)\" = CCCC ] || [ \"$(cat data)-$(cat $CRASHGATE_STDOUT)\" = AAAA- ] || "
    "{ echo lost >&2; exit 1; }";
constexpr const char* kApply = "cat journal | dd of=data conv=notrunc,fsync 2>/dev/null; ";
constexpr const char* kRemove = "rm -f journal; sync .; ";

std::string recovery(const std::string& whole_journal) {
  return "if [ \"$(cat journal 2>/dev/null)\" = CCCC ]; then " + whole_journal + " else " +
         kRemove + "fi";
}

class Recovery : public Check {
 protected:
  json recover(const std::string& command, int status, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"--setup", kSetup, "--recover", command};
    words.insert(words.end(), more.begin(), more.end());
    return check(kWorkload, kChecker, status, words);
  }
  static const json& engine(const json& report) { return report["engines"][1]; }
};

TEST_F(Recovery, RunsBeforeTheChecker) {
  const auto without = check(kWorkload, kChecker, 1, {"--setup", kSetup});
  EXPECT_TRUE(contains(without["findings"][0]["message"], "not recovered"));
  EXPECT_EQ(without["engines"].size(), 1U);
  const auto with = recover(recovery(std::string(kApply) + kRemove), 0);
  EXPECT_EQ(with["verdict"], "pass");
  EXPECT_GT(engine(with)["cut"], 0);
  EXPECT_EQ(engine(with)["recorded"], engine(with)["first_states"]);
  EXPECT_EQ(engine(with)["exhaustive"], true);
}

TEST_F(Recovery, IsCutByASecondPowerLoss) {
  // It takes the journal away before what is in it is elsewhere.
  const auto report =
      recover(recovery("record=$(cat journal); " + std::string(kRemove) +
                       "printf $record | dd of=data conv=notrunc,fsync 2>/dev/null;"),
              1);
  ASSERT_EQ(report["findings"].size(), 1U) << report["findings"].dump(1);
  const auto& finding = report["findings"][0];
  EXPECT_TRUE(contains(finding["message"],
                       "after a second power loss during recovery: the checker says: lost"))
      << finding["message"];
  EXPECT_EQ(finding["acknowledged"][0]["path"], "committed");
  EXPECT_EQ(finding["models"].size(), 5U);  // the process may as well be killed
  EXPECT_TRUE(contains(end_.output, "in the recovery: power lost"));

  const auto replayed = crashgate(place_, {"replay", finding["case"]});
  EXPECT_EQ(replayed.status, 1) << replayed.output << replayed.errors;
  EXPECT_TRUE(contains(replayed.output, "FAIL: as recorded")) << replayed.output;
  EXPECT_TRUE(contains(replayed.output, "  the recovery, ")) << replayed.output;
  EXPECT_EQ(content_of(place_ / finding["case"].get<std::string>() + "/stdout"), "committed\n");
}

TEST_F(Recovery, NumberOfJobsChangesNoExample) {
  // Many first crashes lose as little, and each recovery is cut in the same way.
  const auto found = [&](const std::string& jobs, const std::string& seed) {
    return check("for i in 1 2 3; do echo $i >f$i; done", "[ ! -e g ] || [ -s g ]", 1,
                 {"--recover", "[ -e g ] || { echo whole >g; sync .; }", "--jobs", jobs, "--seed",
                  seed, "--budget", "200states"})["findings"]
        .dump(1);
  };
  for (const auto* seed : {"3", "4", "5"}) {
    const auto alone = found("1", seed);
    for (const auto* jobs : {"2", "3", "5"})
      EXPECT_EQ(found(jobs, seed), alone) << jobs << " jobs, seed " << seed;
  }
}

TEST_F(Recovery, ThatLacksABarrierIsCut) {
  // Applied in memory, and the journal removed for good.
  const auto report = recover(
      recovery("cat journal | dd of=data conv=notrunc 2>/dev/null; " + std::string(kRemove)), 1,
      {"--model", "ext4,kill"});
  ASSERT_EQ(report["findings"].size(), 1U) << report["findings"].dump(1);
  EXPECT_EQ(report["findings"][0]["models"], json{"ext4"});
  EXPECT_EQ(report["findings"][0]["lost"][0]["path"], "data");
}

TEST_F(Recovery, ThatFailsIsAFinding) {
  const auto report = recover(recovery("echo cannot apply >&2; exit 5;"), 1);
  ASSERT_EQ(report["findings"].size(), 1U);
  EXPECT_TRUE(contains(report["findings"][0]["message"], "the recovery says: cannot apply"));
  EXPECT_EQ(crashgate(place_, {"replay", report["findings"][0]["case"]}).status, 1);
  const auto hanging = recover(recovery("sleep 1000;"), 1, {"--checker-timeout", "0.5"});
  EXPECT_EQ(hanging["findings"][0]["kind"], "hang");
}

TEST_F(Recovery, ThatFailsWithoutACrashIsRefused) {
  expect_refused({"--workload", kWorkload, "--checker", "true", "--recover", "echo no >&2; false"},
                 "the recovery says: no");
  expect_refused({"--workload", kWorkload, "--checker", "true", "--recover", "/no/such/program"},
                 "/no/such/program");
}

TEST_F(Recovery, PromisesNothingByWhatItPrints) {
  EXPECT_EQ(recover("echo recovered; " + recovery(std::string(kApply) + kRemove), 0)["verdict"],
            "pass");
}

TEST_F(Recovery, GoesWithACheckerThatStays) {
  write(
      "loop",
      "#!/bin/sh\nwhile read -r directory told; do\n  if [ -e \"$directory/journal\" ]; then echo "
      "not recovered; else echo ok; fi\ndone\n");
  const auto end = run({"--setup", kSetup, "--workload", kWorkload, "--checker-loop",
                        place_ / "loop", "--recover", recovery(std::string(kApply) + kRemove)});
  EXPECT_EQ(end.status, 0) << end.output << end.errors;
}

TEST_F(Recovery, OfManyStatesIsDrawnBySeed) {
  const auto* workload = "for i in 1 2 3 4; do echo $i >f$i; done; echo done";
  const auto drawn = [&](const std::string& seed) {
    return check(workload, "true", 0,
                 {"--recover", "rm -f f1 f2", "--budget", "40states", "--seed", seed});
  };
  const auto report = drawn("7");
  EXPECT_EQ(engine(report)["recorded"], 16);
  EXPECT_GT(engine(report)["first_states"], 16);
  EXPECT_EQ(engine(report)["exhaustive"], false);
  EXPECT_TRUE(contains(end_.output, "drawn by seed")) << end_.output;
  EXPECT_EQ(engine(drawn("7")), engine(report));
}

TEST_F(Recovery, ThatCannotBeModelledIsInconclusive) {
  ASSERT_TRUE(compile("map", R"(
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
  const int file = open("mapped", O_RDWR | O_CREAT, 0600);
  if (ftruncate(file, 4096) != 0) return 1;
  char* bytes = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  bytes[0] = 'x';
  return 0;
}
)",
                      ""));
  // What it stores survives a kill: that nothing recorded made it is no finding.
  const auto* checker = "! test -s mapped || [ \"$(head -c 1 mapped)\" = x ] || exit 1";
  const auto report =
      check("echo done", checker, 3,
            {"--recover", "[ -e mapped ] || " + (place_ / "map"), "--model", "kill"});
  EXPECT_TRUE(says(report["inconclusive_reasons"], "during recovery: "))
      << report["inconclusive_reasons"];
  EXPECT_EQ(report["findings"].size(), 0U) << report["findings"].dump(1);
}

}  // namespace
}  // namespace crashgate::harness
