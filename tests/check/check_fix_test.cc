// The fix that a finding of `crashgate check` comes with.
#include "harness/check/fix.h"
#include "tests/check/check_fixture.h"
#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

TEST(WithBarriers, KeepsTheOrderOfEverything) {
  TraceBuilder builder;
  const auto first = builder.create("a");
  const auto second = builder.create("b");
  builder.append(first, "text");
  const auto trace = builder.finish();
  const auto changed = with_barriers(trace, {{0, first}, {0, faultinject::kRootFile}, {2, second}});
  ASSERT_EQ(changed.events.size(), 6U);
  std::vector<faultinject::FileId> files;
  std::uint64_t clock = 0;
  for (const auto& event : changed.events) {
    files.push_back(event.file);
    EXPECT_LT(clock, event.begin);
    EXPECT_LT(event.begin, event.end);
    clock = event.end;
  }
  EXPECT_EQ(files, (std::vector<faultinject::FileId>{first, first, faultinject::kRootFile, second,
                                                     first, second}));
}

TEST_F(Check, AFixHasAllBarriersThatAPromiseNeeds) {
  const auto report = check(kUnsynced, kHonest, 1);
  const auto& fix = report["findings"][0]["fix"];
  ASSERT_TRUE(fix.is_object()) << report["findings"].dump(1);
  EXPECT_EQ(fix["verified"], true);
  std::vector<std::string> barriers;
  for (const auto& barrier : fix["barriers"])
    barriers.push_back(barrier["call"].get<std::string>() + " " +
                       barrier["path"].get<std::string>());
  EXPECT_EQ(barriers, (std::vector<std::string>{"fsync .", "fsync f"}));
  EXPECT_TRUE(contains(end_.output, "verified, exhaustive")) << end_.output;
  EXPECT_EQ(check(kSynced, kHonest, 0)["verdict"], "pass");  // as the fix says
}

TEST_F(Check, AFixGoesBeforeTheRename) {
  const auto report = check("echo new >f.tmp; echo more >>f.tmp; mv f.tmp f",
                            "[ \"$(cat f)\" = old ] || [ \"$(tail -n 1 f)\" = more ]", 1,
                            {"--setup", "echo old >f", "--model", "ext4"});
  const auto& fix = report["findings"][0]["fix"];
  ASSERT_EQ(fix["barriers"].size(), 1U) << report["findings"].dump(1);
  EXPECT_EQ(fix["barriers"][0]["path"], "f.tmp");
  EXPECT_EQ(fix["barriers"][0]["after"]["seq"], 2);  // the second of the two writes
  EXPECT_EQ(fix["verified"], true);
}

std::vector<std::string> barriers_of(const json& finding) {
  std::vector<std::string> barriers;
  for (const auto& barrier : finding["fix"]["barriers"]) {
    barriers.push_back(barrier["call"].get<std::string>() + " " +
                       barrier["path"].get<std::string>() + " after " +
                       barrier["after"]["call"].get<std::string>() + " " +
                       barrier["after"]["path"].get<std::string>());
  }
  return barriers;
}

TEST_F(Check, AFixGoesBeforeWhatOvertakes) {
  // The header tells of data that is not there yet; three times, in one file.
  const auto* workload =
      "exec 3<>log; for i in 1 2 3; do printf $i$i$i$i | dd of=log bs=1 seek=$((4096 * i)) "
      "conv=notrunc 2>/dev/null; printf $i | dd of=log conv=notrunc,fdatasync 2>/dev/null; "
      "echo $i; done";
  const auto* checker =
      "n=$(head -c 1 log); [ $n -ge $(tail -n 1 $CRASHGATE_STDOUT | grep . || echo 0) ] || exit 1; "
      "for i in 1 2 3; do [ $i -gt $n ] || "
      "[ \"$(tail -c +$((4096 * i + 1)) log | head -c 4)\" = $i$i$i$i ] || "
      "{ echo ahead of its data >&2; exit 1; }; done";
  const auto report = check(workload, checker, 1,
                            {"--setup", "head -c 20000 /dev/zero | tr '\\0' 0 >log", "--model",
                             "ext4,kill", "--budget", "60s"});
  ASSERT_EQ(report["findings"].size(), 1U) << report["findings"].dump(1);
  EXPECT_EQ(report["findings"][0]["fix"]["verified"], true) << report["findings"].dump(1);
  EXPECT_EQ(barriers_of(report["findings"][0]).size(), 3U) << report["findings"].dump(1);
}

TEST_F(Check, AFixOfADirectoryGoesBeforeWhatOvertakes) {
  const auto report =
      check("ln data data.bak; printf new >tmp; sync tmp; mv tmp data; sync .; echo ok",
            "[ \"$(cat data)\" = old ] || [ \"$(cat data.bak)\" = old ] || { echo no backup >&2; "
            "exit 1; }",
            1, {"--setup", "printf old >data", "--model", "posix"});
  ASSERT_EQ(report["findings"].size(), 1U) << report["findings"].dump(1);
  EXPECT_EQ(report["findings"][0]["fix"]["verified"], true) << report["findings"].dump(1);
  EXPECT_EQ(barriers_of(report["findings"][0]),
            std::vector<std::string>{"fsync . after openat tmp"});
}

TEST_F(Check, AFixHasNoBarrierThatIsSuperfluous) {
  const auto report =
      check("rm box/a box/b; echo emptied; rmdir box; echo gone",
            "! grep -q emptied $CRASHGATE_STDOUT || [ -z \"$(ls box 2>/dev/null)\" ] || "
            "{ echo resurrected >&2; exit 1; }",
            1, {"--setup", "mkdir box; touch box/a box/b"});
  ASSERT_EQ(report["findings"].size(), 1U) << report["findings"].dump(1);
  EXPECT_EQ(barriers_of(report["findings"][0]),
            std::vector<std::string>{"fsync box after unlinkat box/b"});
}

TEST_F(Check, NoFixIsSaidWhereNoBarrierHelps) {
  // Nothing makes an overwrite of two blocks atomic.
  const auto report = check(
      "head -c 8192 /dev/zero | tr '\\0' b | dd of=f bs=8192 conv=notrunc iflag=fullblock "
      "2>/dev/null; sync f",
      "[ \"$(tr -d b <f)\" = '' ] || [ \"$(tr -d a <f)\" = '' ]", 1,
      {"--setup", "head -c 8192 /dev/zero | tr '\\0' a >f"});
  EXPECT_EQ(report["findings"][0]["fix"], nullptr) << report["findings"].dump(1);
}

}  // namespace
}  // namespace crashgate::harness
