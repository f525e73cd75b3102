// What `crashgate litmus` concludes and says, and how it is called wrongly.
#include "harness/litmus/litmus_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "harness/command_line/exit_status.h"
#include "harness/command_line/litmus_command.h"

namespace crashgate::harness {
namespace {

LitmusReport report_of(const std::vector<LitmusResult>& results, bool judged = true) {
  LitmusReport report;
  report.subjects = {{.name = "ext4", .model = "ext4", .judged = judged}};
  report.run.results = results;
  conclude(report);
  return report;
}

LitmusResult result_of(const std::string& help) {
  return {.program = "replace",
          .fact = "replace by rename",
          .help = help,
          .file_system = "ext4",
          .states = 10,
          .disk_exhaustive = true,
          .model_exhaustive = true,
          .allowed = 8,
          .seen_and_allowed = 2,
          .outcomes_allowed = {"f new", "f old", "f zeros"},
          .outcomes_seen = {{"f old", 6}}};
}

bool says(const LitmusReport& report, const std::string& text) {
  return to_text(report).find(text) != std::string::npos;
}

TEST(LitmusReport, AddsUpTheHelps) {
  auto other = result_of("neighbour");
  other.outcomes_seen = {{"f old", 1}, {"f zeros", 3}};
  other.unmountable = 2;
  const auto report = report_of({result_of("alone"), other});
  EXPECT_EQ(report.verdict, Verdict::kPass);
  EXPECT_TRUE(says(report, "seen (7 of 10 states)"));
  EXPECT_TRUE(says(report, "seen (3 of 10 states)"));
  EXPECT_TRUE(says(report, "never seen in 10 states"));
  EXPECT_TRUE(says(report, "4 of 16 pairs that the model allows were seen (25%)"));
  EXPECT_TRUE(says(report, "18 recovered disk states compared, 0 contradictions"));
  const auto json = to_json(report);
  EXPECT_EQ(json.at("verdict"), "pass");
  EXPECT_EQ(json.at("file_systems").at(0).at("disk_states_compared"), 18);
  EXPECT_EQ(json.at("file_systems").at(0).at("properties").at(0).at("outcomes").size(), 3u);
}

TEST(LitmusReport, AContradictionFailsUnlessOptionsAreNotTheModels) {
  auto result = result_of("alone");
  result.outcomes_seen["f empty"] = 2;
  result.contradictions = {"f is empty"};
  const auto judged = report_of({result});
  EXPECT_EQ(judged.verdict, Verdict::kFail);
  EXPECT_TRUE(says(judged, "contradiction: f is empty"));
  EXPECT_TRUE(says(judged, "FORBIDDEN by the model yet seen (2 of 8 states)"));
  const auto findings = to_json(judged).at("findings");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings.at(0).at("kind"), "file-system");
  EXPECT_EQ(findings.at(0).at("message"), "f is empty");
  EXPECT_EQ(findings.at(0).at("models"), nlohmann::json{"disk:ext4"});
  const auto compared = report_of({result}, false);
  EXPECT_TRUE(to_json(compared).at("findings").empty());
  EXPECT_EQ(compared.verdict, Verdict::kPass);
  EXPECT_TRUE(says(compared, "differs: f is empty"));
}

TEST(LitmusReport, HasTheMembersOfEveryReport) {
  auto sampled = result_of("neighbour");
  sampled.disk_exhaustive = false;
  sampled.contradictions = {"f is empty"};
  sampled.crash_points = 7;
  LitmusReport report = report_of({result_of("alone")});
  const auto exhaustive = to_json(report).at("models").at(0);
  EXPECT_EQ(exhaustive.at("states_possible"), 2);
  EXPECT_EQ(exhaustive.at("exhaustive"), true);
  report = report_of({result_of("alone"), sampled});
  report.subjects.push_back({.name = "xfs", .model = "xfs", .skipped = "no mkfs.xfs"});
  auto json = to_json(report);
  ASSERT_EQ(json.at("models").size(), 1u);
  const auto& row = json.at("models").at(0);
  EXPECT_EQ(row.at("name"), "disk:ext4");
  EXPECT_EQ(row.at("model"), "ext4");
  EXPECT_EQ(row.at("crash_points"), 7);
  EXPECT_EQ(row.at("disk_states"), 20);
  EXPECT_EQ(row.at("states_checked"), 5);
  EXPECT_TRUE(row.at("states_possible").is_null());
  ASSERT_EQ(json.at("engines").size(), 1u);
  EXPECT_EQ(json.at("engines").at(0).at("name"), "disk");
  EXPECT_EQ(json.at("engines").at(0).at("recordings"), 2);
  EXPECT_TRUE(json.at("engines").at(0).at("skipped").is_null());
  EXPECT_EQ(json.at("engines").at(0).at("left_out"), nlohmann::json{"xfs: no mkfs.xfs"});
  report.subjects.erase(report.subjects.begin());
  json = to_json(report);
  EXPECT_EQ(json.at("engines").at(0).at("skipped"), "xfs: no mkfs.xfs");
  EXPECT_TRUE(json.at("models").empty());
}

TEST(LitmusReport, WhatWasNotLookedAtIsInconclusive) {
  EXPECT_EQ(report_of({}).verdict, Verdict::kInconclusive);
  LitmusReport report;
  report.subjects = {{.name = "xfs", .skipped = "not root"}};
  conclude(report);
  EXPECT_EQ(report.verdict, Verdict::kInconclusive);
  EXPECT_TRUE(says(report, "skipped: not root"));
  EXPECT_TRUE(says(report, "inconclusive: xfs: not root"));
}

TEST(LitmusCommandTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(litmus({.file_systems = {"zfs"}, .quiet = true}), kExitBadInput);
  EXPECT_EQ(litmus({.programs = {"no such program"}, .quiet = true}), kExitBadInput);
  EXPECT_EQ(litmus({.json_path = "/no/such/directory/x", .quiet = true}), kExitBadInput);
}

}  // namespace
}  // namespace crashgate::harness
