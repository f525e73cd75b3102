// `crashgate doctor` says what is there, and notices what is not.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <sstream>

#include "tests/harness/program.h"
#include "tests/store/syscall_filter.h"

namespace crashgate::harness {
namespace {

class Doctor : public ::testing::Test {
 protected:
  ProgramEnd run(std::function<void()> before = {}) {
    return Program(place_, {CRASHGATE_PATH, "doctor"}, std::move(before)).wait();
  }
  static std::string line_about(const std::string& what, const std::string& text) {
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
      if (line.starts_with("  " + what)) return line;
    }
    return "";
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
};

TEST_F(Doctor, FindsAllThatTheSuiteUses) {
  if (::geteuid() != 0) GTEST_SKIP() << "namespaces and small disks need root";
  const auto end = run();
  EXPECT_EQ(end.status, 0) << end.output << end.errors;
  EXPECT_EQ(end.errors, "");
  for (const auto* what :
       {"shim library", "ptrace and seccomp", "private mounts", "process-id namespaces",
        "small disks", "devices", "recorded disks", "ext4", "xfs", "btrfs"}) {
    EXPECT_NE(line_about(what, end.output).find(" yes "), std::string::npos) << end.output;
  }
  EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
}

TEST_F(Doctor, SaysWhatIsForbiddenAndWhy) {
  const auto end = run([] {
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // where it is sanitized: that needs ptrace
    testing::deny(SYS_ptrace, EPERM);
  });
  EXPECT_EQ(end.status, 3) << end.output << end.errors;
  const auto line = line_about("ptrace and seccomp", end.output);
  EXPECT_NE(line.find(" no "), std::string::npos) << end.output;
  EXPECT_NE(line.find("Operation not permitted"), std::string::npos) << end.output;
}

TEST_F(Doctor, WhatIsNotEssentialChangesNoStatus) {
  const auto end = run([] { testing::deny(SYS_unshare, ENOSPC); });
  EXPECT_EQ(end.status, 0) << end.output << end.errors;
  EXPECT_NE(line_about("private mounts", end.output).find("No space left"), std::string::npos);
  EXPECT_NE(line_about("small disks", end.output).find(" no "), std::string::npos) << end.output;
}

}  // namespace
}  // namespace crashgate::harness
