// The comparison of what was seen with what a model allows, and how it is put in words; without a
// disk.
#include "harness/litmus/litmus_comparison.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>
#include <string>

#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/litmus/litmus_outcome.h"
#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

constexpr std::uint64_t kLimit = 100'000;

// "replace", by hand.
Trace replacing_trace() {
  TraceBuilder builder;
  builder.append(builder.create("f"), std::string(4096, 'o'));
  builder.start();
  const FileId file = builder.create("t");
  builder.acknowledge("1\n");
  builder.append(file, std::string(4096, 'N'));
  builder.acknowledge("2\n");
  builder.rename("t", "f");
  builder.acknowledge("3\n");
  return builder.finish();
}

class LitmusComparisonTest : public testing::Test {
 protected:
  // What `seen` allows, as if it had been found on a disk, held against `model`.
  LitmusComparison compare(const PersistenceModel& seen, const PersistenceModel& model) const {
    LitmusComparison comparison(program_, trace_, model, basis_, kLimit);
    CrashStateEnumerator states(trace_, seen, {.basis = basis_});
    while (const CrashState* state = states.next())
      comparison.see(*state->tree, state->acknowledgement_end);
    return comparison;
  }

  const Trace trace_ = replacing_trace();
  const LitmusProgram program_{.name = "replace", .looks = {"f"}};
  const Basis basis_{64, 1};
};

TEST_F(LitmusComparisonTest, AModelIsSoundAndTightForItself) {
  for (const auto& model : models()) {
    SCOPED_TRACE(model.name);
    const auto comparison = compare(model, model);
    EXPECT_TRUE(comparison.is_exhaustive());
    EXPECT_EQ(comparison.contradictions().size(), 0u);
    EXPECT_EQ(comparison.seen_and_allowed(), comparison.allowed());
    EXPECT_EQ(comparison.undecided(), 0u);
    for (const auto& [outcome, count] : comparison.outcomes_seen())
      EXPECT_TRUE(comparison.outcomes_allowed().contains(outcome)) << outcome;
  }
}

// The known-bad twin: xfs with one rule that it does not have.
TEST_F(LitmusComparisonTest, AModelThatIsTooStrictIsContradicted) {
  const auto& xfs = *find_model("xfs");
  PersistenceModel strict = xfs;
  strict.rename_over_needs_size = true;
  const auto comparison = compare(xfs, strict);
  const auto found = comparison.contradictions();
  ASSERT_FALSE(found.empty());
  std::set<std::string> outcomes;
  for (const auto& contradiction : found) {
    EXPECT_GE(contradiction.count, 1u);
    EXPECT_FALSE(contradiction.difference.empty());
    outcomes.insert(contradiction.outcome);
  }
  EXPECT_TRUE(outcomes.contains("f empty"));
  EXPECT_FALSE(outcomes.contains("f new"));
  EXPECT_FALSE(outcomes.contains("f old"));
  EXPECT_TRUE(compare(strict, xfs).contradictions().empty());
}

TEST_F(LitmusComparisonTest, WhatIsNotEnumeratedIsUndecided) {
  LitmusComparison comparison(program_, trace_, *find_model("ext4"), basis_, 1);
  EXPECT_FALSE(comparison.is_exhaustive());
  comparison.see(predicted_tree(trace_), acknowledgements(trace_).size());
  EXPECT_EQ(comparison.undecided(), 1u);
  EXPECT_TRUE(comparison.contradictions().empty());
}

TEST_F(LitmusComparisonTest, WhatWasNotToldYetIsAnotherState) {
  const auto& ext4 = *find_model("ext4");
  LitmusComparison comparison(program_, trace_, ext4, basis_, kLimit);
  comparison.see(predicted_tree(trace_), 0);
  const auto found = comparison.contradictions();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].steps_acknowledged, 0u);
  EXPECT_EQ(found[0].outcome, "f new");
}

DirectoryTree tree_with(const std::string& path, const std::string& bytes) {
  TraceBuilder builder;
  if (!path.empty()) builder.append(builder.create(path), bytes);
  static std::deque<Trace> kept;  // trees point into them
  return predicted_tree(kept.emplace_back(builder.finish()));
}

TEST(LitmusOutcome, SaysWhatTheBytesAre) {
  const std::string o(4, 'o'), n(4, 'N'), zeros(4, '\0');
  const auto before = tree_with("f", o);
  const auto after = tree_with("f", o + n + n);
  const auto outcome = [&](const std::string& bytes) {
    return litmus_outcome({"f"}, before, after, tree_with("f", bytes));
  };
  EXPECT_EQ(outcome(o), "f old");
  EXPECT_EQ(outcome(o + n + n), "f new");
  EXPECT_EQ(outcome(""), "f empty");
  EXPECT_EQ(outcome(o + zeros + zeros), "f old and zeros");
  EXPECT_EQ(outcome(o + n + zeros), "f old and new and zeros");
  EXPECT_EQ(outcome(o + n), "f old and new, short");
  EXPECT_EQ(outcome(zeros), "f zeros, short");
  EXPECT_EQ(outcome(zeros + zeros + zeros), "f zeros");
  EXPECT_EQ(outcome("????????????"), "f other bytes");
  EXPECT_EQ(litmus_outcome({"f", "g"}, before, after, tree_with("", "")), "f absent; g absent");
  EXPECT_EQ(litmus_outcome({"f"}, before, before, before), "f there");
}

TEST(LitmusOutcome, CountsThePathsThatDiffer) {
  const auto one = tree_with("f", "1"), two = tree_with("f", "2"), other = tree_with("g", "1");
  EXPECT_EQ(distance(one, one), 0u);
  EXPECT_EQ(distance(one, two), 1u);
  EXPECT_EQ(distance(one, other), 2u);
}

}  // namespace
}  // namespace crashgate::harness
