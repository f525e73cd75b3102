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
