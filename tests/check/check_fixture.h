// `crashgate check` run as a user would run it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/harness/program.h"

namespace crashgate::harness {

using nlohmann::json;
namespace fs = std::filesystem;

// Acknowledged, and never synced.
inline constexpr const char* kUnsynced = "echo a >f; echo done";
inline constexpr const char* kSynced = "echo a >f; sync f; sync .; echo done";
// What was told is there.
inline constexpr const char* kHonest = "test -s f || test ! -s $CRASHGATE_STDOUT";

inline std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

/// `process`: its id, as a shell writes it. One that nobody has waited for yet does not run.
inline bool is_running(const std::string& process) {
  const auto status = content_of("/proc/" + std::to_string(std::stoi(process)) + "/stat");
  const auto name_end = status.rfind(") ");
  return name_end != std::string::npos && status[name_end + 2] != 'Z';
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Check : public ::testing::Test {
 protected:
  ~Check() override {
    EXPECT_TRUE(fs::is_empty(place_ / "scratch"));
    EXPECT_FALSE(contains(content_of("/proc/self/mounts"), place_.path()));
  }

  ProgramEnd run(std::vector<std::string> words) {
    words.insert(words.begin(), "check");
    return crashgate(place_, words);
  }

  /// Its report; the exit status must be the expected one.
  json check(const std::string& workload, const std::string& checker, int status,
             const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"--workload", workload, "--checker",
                                   checker,      "--json", report_path_};
    if (std::ranges::find(more, "--budget") == more.end())
      words.insert(words.end(), {"--budget", "300states"});
    words.insert(words.end(), more.begin(), more.end());
    end_ = run(words);
    EXPECT_EQ(end_.status, status) << end_.output << end_.errors;
    auto report = json::parse(content_of(report_path_), nullptr, false);
    EXPECT_FALSE(report.is_discarded());
    return report;
  }

  /// Exit status 2, and one line that says what is wrong.
  void expect_refused(const std::vector<std::string>& words, const std::string& names) {
    const auto end = run(words);
    SCOPED_TRACE(::testing::PrintToString(words) + "\n" + end.output + end.errors);
    EXPECT_EQ(end.status, 2);
    EXPECT_LE(count_lines(end.output), 1U);
    EXPECT_EQ(count_lines(end.errors), 1U);
    EXPECT_TRUE(end.errors.starts_with("crashgate"));
    EXPECT_TRUE(contains(end.errors, names));
    EXPECT_FALSE(contains(end.errors, "InvalidArgument"));
  }

  /// Whether one of the report's lines holds the text.
  static bool says(const json& lines, const std::string& text) {
    return std::ranges::any_of(lines,
                               [&](const std::string& line) { return contains(line, text); });
  }

  /// Compiles a C program into `place_`; false where the compiler cannot.
  bool compile(const std::string& name, const std::string& source, const std::string& options) {
    write(name + ".c", source);
    const auto command = "cc " + options + " -o '" + place_ / name + "' '" + place_ / name +
                         ".c' 2>'" + place_ / "compiler'";
    return std::system(command.c_str()) == 0;
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(place_ / name, std::ios::binary) << text;
    fs::permissions(place_ / name, fs::perms::owner_all);
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
  std::string report_path_ = place_ / "report.json";
  ProgramEnd end_;
};

}  // namespace crashgate::harness
