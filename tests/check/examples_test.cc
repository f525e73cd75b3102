// `crashgate check` on the real programs of tests/examples/, a test each: the verdict, the findings
// and the models under which they happen, their replay, and of a program that passes that none of
// its barriers could be left out unnoticed. tests/examples/README.md says what a folder holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/harness/program.h"

namespace crashgate::harness {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct ExpectedFinding {
  std::set<std::string> models;
  std::string text;
};

struct Expected {
  std::vector<std::string> needs;  // programs
  std::vector<std::string> options;
  std::string budget = "400states";
  std::string verdict;
  std::vector<ExpectedFinding> findings;
  std::vector<std::string> blind;  // parts of lines
};

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

Expected read_expected(const std::string& path) {
  Expected expected;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    const auto colon = line.find(": ");
    const auto key = line.substr(0, colon);
    const auto value = colon == std::string::npos ? "" : line.substr(colon + 2);
    if (key == "needs") {
      expected.needs = words_of(value);
    } else if (key == "options") {
      expected.options = words_of(value);
    } else if (key == "budget") {
      expected.budget = value;
    } else if (key == "verdict") {
      expected.verdict = value;
    } else if (key == "blind") {
      expected.blind.push_back(value);
    } else if (key == "finding") {
      const auto models = words_of(value.substr(0, value.find(": ")));
      expected.findings.push_back(
          {{models.begin(), models.end()}, value.substr(value.find(": ") + 2)});
    } else {
      ADD_FAILURE() << path << ": " << line;
    }
  }
  return expected;
}

bool is_installed(const std::string& program) {
  std::istringstream directories(std::getenv("PATH"));
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (::access((directory + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Example : public ::testing::TestWithParam<std::string> {
 protected:
  std::string file(const std::string& name) const {
    return std::string(CRASHGATE_EXAMPLES) + "/" + GetParam() + "/" + name;
  }

  /// What the folder's `build` makes is found by the commands, as if it were installed.
  void build() {
    const auto built = place_ / "built";
    fs::create_directory(built);
    const auto command = "cd '" + built + "' && exec '" + file("build") + "'";
    if (fs::exists(file("build"))) {
      ASSERT_EQ(std::system(command.c_str()), 0);
    }
    ::setenv("PATH", (built + ":" + std::getenv("PATH")).c_str(), 1);
  }

  json check(const Expected& expected) {
    std::vector<std::string> words{
        "check",  "--workload",           file("workload"), "--budget",      expected.budget,
        "--json", place_ / "report.json", "--out",          place_ / "cases"};
    const auto add = [&](const std::string& option, const std::string& name) {
      if (fs::exists(file(name))) words.insert(words.end(), {option, file(name)});
    };
    add("--setup", "setup");
    add("--checker", "checker");
    add("--checker-loop", "checker-loop");
    words.insert(words.end(), expected.options.begin(), expected.options.end());
    end_ = crashgate(place_, words);
    EXPECT_TRUE(fs::is_empty(place_ / "scratch"));
    return json::parse(content_of(place_ / "report.json"), nullptr, false);
  }

  void expect_findings(const json& findings, const std::vector<ExpectedFinding>& expected) {
    std::vector<std::set<std::string>> models(expected.size());
    for (const auto& finding : findings) {
      const auto is_told = [&](const ExpectedFinding& one) {
        return contains(finding["message"], one.text);
      };
      const auto found = std::ranges::find_if(expected, is_told);
      if (found == expected.end()) {
        ADD_FAILURE() << "not expected: " << finding.dump(1);
        continue;
      }
      for (const std::string model : finding["models"])
        models[static_cast<std::size_t>(found - expected.begin())].insert(model);
    }
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_EQ(models[i], expected[i].models) << expected[i].text << findings.dump(1);
  }

  void expect_to_replay(const json& findings) {
    for (const auto& finding : findings) {
      const auto replayed = crashgate(place_, {"replay", finding["case"]});
      EXPECT_EQ(replayed.status, 1) << replayed.output << replayed.errors;
      EXPECT_TRUE(contains(replayed.output, "FAIL: as recorded")) << replayed.output;
    }
  }

  /// The checker notices when a barrier is missing, or the barrier is redundant, or we know better.
  static void expect_to_notice_barriers(const json& report, const std::vector<std::string>& blind) {
    EXPECT_FALSE(report["barriers"].empty());
    std::size_t unnoticed = 0;
    for (const auto& barrier : report["barriers"]) {
      if (!barrier["noticed"] && !barrier["redundant"]) ++unnoticed;
    }
    EXPECT_EQ(unnoticed, report["blind"].size()) << report["barriers"].dump(1);
    for (const std::string line : report["blind"])
      EXPECT_TRUE(std::ranges::any_of(blind, [&](const std::string& known) {
        return contains(line, known);
      })) << line;
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
  ProgramEnd end_;
};

TEST_P(Example, IsJudgedAsExpected) {
  const auto expected = read_expected(file("expected"));
  for (const auto& program : expected.needs) {
    if (!is_installed(program)) GTEST_SKIP() << program << " is not installed";
  }
  ASSERT_NO_FATAL_FAILURE(build());
  const auto report = check(expected);
  ASSERT_FALSE(report.is_discarded()) << end_.output << end_.errors;
  SCOPED_TRACE(end_.output + end_.errors);
  EXPECT_EQ(report["verdict"], expected.verdict);
  EXPECT_EQ(end_.status, expected.verdict == "pass" ? 0 : 1);
  EXPECT_EQ(end_.errors, "");
  EXPECT_TRUE(report["inconclusive_reasons"].empty());
  EXPECT_TRUE(report["notes"].empty());
  expect_findings(report["findings"], expected.findings);
  expect_to_replay(report["findings"]);
  if (expected.verdict == "pass") expect_to_notice_barriers(report, expected.blind);
}

std::vector<std::string> examples() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(CRASHGATE_EXAMPLES)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Check, Example, ::testing::ValuesIn(examples()), [](const auto& one) {
  std::string name = one.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace crashgate::harness
