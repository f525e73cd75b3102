#include "faultinject/rule.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cerrno>

namespace crashgate::faultinject {
namespace {

Rule parsed(std::string_view text) {
  auto rule = parse_rule(text);
  EXPECT_TRUE(rule.has_value()) << text << ": " << (rule ? "" : rule.error().message);
  return rule.value_or(Rule{});
}

bool has(const Rule& rule, Row row) {
  return rule.calls[static_cast<std::size_t>(row)];
}

TEST(RuleTest, ReadsEveryPart) {
  Rule rule = parsed("write,fsync@/tmp/*.db:when=2..9+3:error=ENOSPC");
  EXPECT_EQ(rule.calls.count(), 2u);
  EXPECT_TRUE(has(rule, Row::k_write) && has(rule, Row::k_fsync));
  EXPECT_STREQ(rule.glob.data(), "/tmp/*.db");
  EXPECT_EQ(rule.first, 2u);
  EXPECT_EQ(rule.last, 9u);
  EXPECT_EQ(rule.step, 3u);
  EXPECT_EQ(rule.action, Action::kError);
  EXPECT_EQ(rule.argument, static_cast<std::uint64_t>(ENOSPC));
}

TEST(RuleTest, WhenDefaultsToEveryCall) {
  Rule rule = parsed("fsync:kill");
  EXPECT_EQ(rule.first, 1u);
  EXPECT_EQ(rule.last, UINT64_MAX);
  EXPECT_EQ(rule.step, 1u);
  EXPECT_EQ(rule.action, Action::kKillBefore);
}

TEST(RuleTest, WhenHasFourForms) {
  EXPECT_EQ(parsed("fsync:when=3:kill").last, 3u);
  EXPECT_EQ(parsed("fsync:when=3..:kill").last, UINT64_MAX);
  EXPECT_EQ(parsed("fsync:when=3..5:kill").last, 5u);
  Rule strided = parsed("fsync:when=3+2:kill");
  EXPECT_EQ(strided.last, UINT64_MAX);
  EXPECT_EQ(strided.step, 2u);
}

TEST(RuleTest, KnowsAliasesKindsAndAll) {
  EXPECT_TRUE(has(parsed("pwrite:short=1"), Row::k_pwrite64));
  EXPECT_TRUE(has(parsed("open64:kill"), Row::k_open));
  EXPECT_EQ(parsed("%barrier:kill").calls, rows_of_kind(Kind::kBarrier));
  EXPECT_TRUE(parsed("all:kill").calls.all());
}

TEST(RuleTest, KnowsErrorsByNameAndNumber) {
  EXPECT_EQ(parsed("write:error=EWOULDBLOCK").argument, static_cast<std::uint64_t>(EAGAIN));
  EXPECT_EQ(parsed("write:error=ENOTSUP").argument, static_cast<std::uint64_t>(EOPNOTSUPP));
  EXPECT_EQ(parsed("write:error=5").argument, 5u);
}

TEST(RuleTest, KnowsTimeUnits) {
  EXPECT_EQ(parsed("write:delay=7ns").argument, 7u);
  EXPECT_EQ(parsed("write:delay=10us").argument, 10'000u);
  EXPECT_EQ(parsed("write:delay=5ms").argument, 5'000'000u);
  EXPECT_EQ(parsed("write:delay=1s").argument, 1'000'000'000u);
}

TEST(RuleTest, PathPatternsMayHoldColons) {
  EXPECT_STREQ(parsed("open@/a:b/@c:when=1:kill").glob.data(), "/a:b/@c");
}

struct BadRule {
  const char* text;
  std::size_t offset;
  const char* message;
};

class BadRuleTest : public testing::TestWithParam<BadRule> {};

TEST_P(BadRuleTest, SaysWhereAndWhy) {
  auto rule = parse_rule(GetParam().text);
  ASSERT_FALSE(rule.has_value()) << GetParam().text;
  EXPECT_EQ(rule.error().offset, GetParam().offset) << GetParam().text;
  EXPECT_NE(rule.error().message.find(GetParam().message), std::string::npos)
      << GetParam().text << ": " << rule.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    All, BadRuleTest,
    testing::Values(BadRule{"", 0, "expected CALL"}, BadRule{"write", 5, "expected CALL"},
                    BadRule{"wrte:kill", 0, "no such call: \"wrte\""},
                    BadRule{"write,:kill", 6, "no such call"},
                    BadRule{"%wet:kill", 0, "no such kind"},
                    BadRule{"write@:kill", 6, "empty path pattern"},
                    BadRule{"write:when=0:kill", 11, "counted from 1"},
                    BadRule{"write:when=:kill", 11, "must be a whole number"},
                    BadRule{"write:when=5..3:kill", 14, "ends before it begins"},
                    BadRule{"write:when=1..x:kill", 14, "must be a whole number"},
                    BadRule{"write:when=1..+0:kill", 15, "at least 1"},
                    BadRule{"write:when=99999999999999999999:kill", 11, "too large"},
                    BadRule{"write:error=EWHAT", 12, "no such error"},
                    BadRule{"write:error=0", 12, "no such error"},
                    BadRule{"write:error=5000", 12, "no such error"},
                    BadRule{"write:short=-1", 12, "must be a whole number"},
                    BadRule{"fsync:short=1", 12, "transfers data"},
                    BadRule{"write:delay=5", 13, "needs a unit"},
                    BadRule{"write:delay=ms", 12, "must be a whole number"},
                    BadRule{"write:delay=99999999999999s", 12, "too large"},
                    BadRule{"write:kill=late", 11, "before, mid or after"},
                    BadRule{"write:when=1:explode", 13, "expected error="},
                    BadRule{"write:whence=1:kill", 0, "no such call"}));

TEST(RuleTest, PatternLengthIsLimited) {
  EXPECT_TRUE(parse_rule("open@" + std::string(255, 'x') + ":kill").has_value());
  auto rule = parse_rule("open@" + std::string(256, 'x') + ":kill");
  ASSERT_FALSE(rule.has_value());
  EXPECT_EQ(rule.error().offset, 5u);
}

TEST(RuleTest, TextRoundTrips) {
  bool held = rc::check("to_string and parse_rule are inverse", [] {
    Rule rule;
    auto rows = *rc::gen::nonEmpty(
        rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, kRowCount)));
    for (std::size_t row : rows) rule.calls.set(row);
    auto glob = *rc::gen::resize(
        60, rc::gen::container<std::string>(rc::gen::suchThat(
                rc::gen::character<char>(), [](char c) { return c != '\0' && c != '\n'; })));
    if (glob.size() < rule.glob.size()) std::copy(glob.begin(), glob.end(), rule.glob.begin());
    rule.first = *rc::gen::inRange<std::uint64_t>(1, 1000);
    rule.last = *rc::gen::oneOf(rc::gen::just(UINT64_MAX),
                                rc::gen::inRange<std::uint64_t>(rule.first, 2000));
    rule.step = *rc::gen::inRange<std::uint64_t>(1, 10);
    rule.action = static_cast<Action>(*rc::gen::inRange(0, 6));
    if (rule.action == Action::kError) rule.argument = *rc::gen::inRange<std::uint64_t>(1, 4096);
    if (rule.action == Action::kShort) {
      rule.argument = *rc::gen::arbitrary<std::uint64_t>();
      rule.calls.set(static_cast<std::size_t>(Row::k_write));
    }
    if (rule.action == Action::kDelay) rule.argument = *rc::gen::arbitrary<std::uint64_t>();
    std::string text = to_string(rule);
    auto back = parse_rule(text);
    RC_LOG() << text << '\n';
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == rule);
  });
  EXPECT_TRUE(held);
}

TEST(RuleTest, SeveralRulesGetTheirOwnCounters) {
  auto rules = parse_rules("write:kill\n\nfsync:error=EIO\n");
  ASSERT_TRUE(rules.has_value());
  ASSERT_EQ(rules->size(), 2u);
  EXPECT_EQ((*rules)[0].counter, 0u);
  EXPECT_EQ((*rules)[1].counter, 1u);
  auto bad = parse_rules("write:kill\nfsinc:error=EIO");
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().offset, 11u);
}

TEST(RuleTest, TooManyRulesAreRefused) {
  std::string text;
  for (std::size_t i = 0; i < kMaxRules; ++i) text += "write:kill\n";
  EXPECT_TRUE(parse_rules(text).has_value());
  EXPECT_FALSE(parse_rules(text + "write:kill\n").has_value());
}

}  // namespace
}  // namespace crashgate::faultinject
