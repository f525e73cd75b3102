// `crashgate check` interrupted: nothing is left of it, nor of what it started.
#include <poll.h>

#include "tests/check/check_fixture.h"

namespace crashgate::harness {
namespace {

/// Ends once `path` is there.
void wait_for(const std::string& path) {
  while (!fs::exists(path)) ::poll(nullptr, 0, 5);
}

class Interrupted : public Check, public ::testing::WithParamInterface<int> {
 protected:
  /// Interrupts once the workload or the checker has written `begun`; it must end at once, and with
  /// it the process whose id is in that file.
  void interrupt(const std::string& workload, const std::string& checker,
                 const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{CRASHGATE_PATH, "check", "--workload",        workload,
                                   "--checker",    checker, "--checker-timeout", "500"};
    words.insert(words.end(), more.begin(), more.end());
    Program program(place_, words);
    wait_for(place_ / "begun");
    ::kill(program.pid(), GetParam());
    const auto end = program.wait();
    EXPECT_EQ(end.status, 128 + GetParam()) << end.output << end.errors;
    // Killed by now, but who dies takes the time that it takes.
    const auto process = content_of(place_ / "begun");
    for (int i = 0; i < 2000 && is_running(process); ++i) ::poll(nullptr, 0, 5);
    EXPECT_FALSE(is_running(process));
    EXPECT_FALSE(fs::exists(place_ / ".crashgate"));
  }
  /// Shell words that leave their shell's process id in `begun`.
  std::string begin() const {
    return "echo $$ >'" + place_ / "begun.new" + "'; mv '" + place_ / "begun.new" + "' '" +
           place_ / "begun" + "'; ";
  }
};

TEST_P(Interrupted, WhileItRecords) {
  interrupt("echo a >f; " + begin() + "sleep 1000", "true");
}

// Of a pipe, so that there is more than the shell to be killed.
TEST_P(Interrupted, WhileItRecordsPreloaded) {
  interrupt("echo a >f; { " + begin() + "sleep 1000; } | cat", "true", {"--recorder", "preload"});
}

TEST_P(Interrupted, WhileItSetsUp) {
  interrupt("true", "true", {"--setup", "{ " + begin() + "sleep 1000; } | cat"});
}

TEST_P(Interrupted, WhileItExplores) {
  interrupt(kUnsynced, "[ -s f ] || { " + begin() + "sleep 1000; }");
}

TEST_P(Interrupted, WhileItCutsARecovery) {
  // The first crash's states are all judged: only then is one recovery traced.
  interrupt(kUnsynced, "true",
            {"--recover",
             "grep -q '^TracerPid:[^0-9]*0' /proc/$$/status || { " + begin() + "sleep 1000; }"});
}

// The log of the preloaded recorder lies in the run's scratch directory, and goes with it.
TEST_F(Check, WhatAKilledRunLeavesIsRemovedByTheNext) {
  const auto begun = place_ / "begun";
  Program killed(place_, {CRASHGATE_PATH, "check", "--recorder", "preload", "--workload",
                          "echo a >f; touch '" + begun + "'; sleep 1000", "--checker", "true"});
  wait_for(begun);
  const auto shared = [&] {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(place_ / "scratch")) {
      if (entry.path().filename() == "shared") found.push_back(entry.path());
    }
    return found;
  };
  ASSERT_EQ(shared().size(), 1U);
  ::kill(killed.pid(), SIGKILL);
  EXPECT_EQ(killed.wait().status, 128 + SIGKILL);
  // Its children die after it.
  for (int i = 0; i < 1000 && !fs::is_empty(place_ / "scratch"); ++i) {
    check(kSynced, kHonest, 0, {"--budget", "10states"});
    ::poll(nullptr, 0, 5);
  }
}

INSTANTIATE_TEST_SUITE_P(Check, Interrupted, ::testing::Values(SIGINT, SIGTERM),
                         [](const auto& one) {
                           return std::string(one.param == SIGINT ? "Interrupt" : "Terminate");
                         });

}  // namespace
}  // namespace crashgate::harness
