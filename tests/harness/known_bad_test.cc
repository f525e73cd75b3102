// `crashgate verify` finds every known-bad store, and lets every good one pass; each a test of its
// own.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/store_under_test.h"
#include "tests/harness/program.h"

namespace crashgate::harness {

void PrintTo(const StoreEntry& entry, std::ostream* out) {
  *out << entry.name;
}

namespace {

// Runs, not seconds, and one job: the same runs on a slow machine as on a fast one. Most mistakes
// show within the first few runs; for the others there are more, of the models that are quick (what
// real file systems show is tests/disk's).
constexpr const char* kFewRuns = "1000states";
constexpr const char* kManyRuns = "12000states";
constexpr const char* kQuickModels = "kill,posix";

// A sanitized process takes twenty times as long to fork, so a sanitizer gets to see the production
// store and one mistake for each engine to find, with their corrections.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
bool is_worth_it(std::string_view store) {
  constexpr std::string_view kAlways[] = {"local-file", "exists-then-put", "ignores-failed-fsync",
                                          "payload-not-synced", "write-in-place"};
  if (store.ends_with("-fixed")) store.remove_suffix(std::string_view("-fixed").size());
  return !kSanitized || std::ranges::find(kAlways, store) != std::end(kAlways);
}

class RegisteredStore : public ::testing::TestWithParam<StoreEntry> {
 protected:
  nlohmann::json verify(const char* budget, std::vector<std::string> more = {}) {
    std::vector<std::string> words{
        "verify", "--store", std::string(GetParam().name), "--budget", budget,          "--jobs",
        "1",      "--json",  place_ / "report.json",       "--out",    place_ / "cases"};
    words.insert(words.end(), more.begin(), more.end());
    end_ = crashgate(place_, words);
    EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
    return nlohmann::json::parse(content_of(place_ / "report.json"), nullptr, false);
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
  ProgramEnd end_;
};

class BadStore : public RegisteredStore {};

TEST_P(BadStore, IsFoundAndReplays) {
  auto report = verify(kFewRuns);
  if (end_.status == 0) report = verify(kManyRuns, {"--model", kQuickModels});
  ASSERT_EQ(end_.status, 1) << end_.output << end_.errors;
  ASSERT_FALSE(report.is_discarded());
  EXPECT_EQ(report["verdict"], "fail");
  ASSERT_FALSE(report["findings"].empty());
  for (const auto& finding : report["findings"]) {
    EXPECT_FALSE(finding["message"].get<std::string>().empty());
    EXPECT_GE(finding["count"].get<int>(), 1);
    const auto path = finding["case"].get<std::string>();
    const auto replayed = crashgate(place_, {"replay", path});
    EXPECT_EQ(replayed.status, 1) << replayed.output << replayed.errors;
    EXPECT_NE(replayed.output.find("FAIL: as recorded"), std::string::npos) << replayed.output;
    EXPECT_EQ(replayed.output.find("has changed since"), std::string::npos) << replayed.output;
  }
  // The run ends with the very line that replays its first case.
  const auto line = "\ncrashgate replay " + report["findings"][0]["case"].get<std::string>() + "\n";
  EXPECT_TRUE(end_.output.ends_with(line)) << end_.output;
}

// What a store lacks is named, and it was tried that nothing is lost with it.
TEST(VerifyFix, NamesTheMissingBarrier) {
  for (const std::string store : {"payload-not-synced", "directory-not-synced"}) {
    testing::TemporaryDirectory place{testing::fast_parent()};
    const auto end =
        crashgate(place, {"verify", "--store", store, "--budget", kFewRuns, "--jobs", "1",
                          "--model", "posix", "--json", place / "report.json", "--quiet"});
    ASSERT_EQ(end.status, 1) << end.output << end.errors;
    const auto report = nlohmann::json::parse(content_of(place / "report.json"), nullptr, false);
    bool is_fixed = false;
    for (const auto& finding : report["findings"]) {
      const auto& fix = finding["fix"];
      if (finding["engine"] != "power" || fix.is_null()) continue;
      is_fixed = is_fixed || (fix["verified"] == true && fix["barriers"][0]["call"] == "fsync");
    }
    EXPECT_TRUE(is_fixed) << end.output;
    EXPECT_NE(end.output.find("  fix: fsync \""), std::string::npos) << end.output;
  }
}

class GoodStore : public RegisteredStore {};

TEST_P(GoodStore, Passes) {
  const auto report = verify(kFewRuns);
  EXPECT_EQ(end_.status, 0) << end_.output << end_.errors;
  ASSERT_FALSE(report.is_discarded());
  EXPECT_EQ(report["verdict"], "pass");
  EXPECT_TRUE(report["findings"].empty()) << report["findings"].dump(1);
}

std::vector<StoreEntry> stores_that_are(bool good) {
  register_production_store();
  std::vector<StoreEntry> chosen;
  std::ranges::copy_if(stores(), std::back_inserter(chosen), [=](const StoreEntry& entry) {
    return entry.good == good && is_worth_it(entry.name);
  });
  return chosen;
}

std::string test_name(const ::testing::TestParamInfo<StoreEntry>& info) {
  std::string name(info.param.name);
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(KnownBad, BadStore, ::testing::ValuesIn(stores_that_are(false)),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Verified, GoodStore, ::testing::ValuesIn(stores_that_are(true)),
                         test_name);

}  // namespace
}  // namespace crashgate::harness
