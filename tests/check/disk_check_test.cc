// `crashgate check --disk` as a user meets it: what real file systems lose, what they keep, wrong
// words, and what goes wrong with disks. Needs root, FUSE and loop devices.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "faultinject/disk/recorded_disk.h"
#include "harness/disk/file_system.h"
#include "tests/harness/program.h"

namespace crashgate::harness {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// Acknowledged, and never synced.
constexpr const char* kUnsynced = "echo a >f; echo done";
constexpr const char* kSynced = "echo a >f; sync f; sync .; echo done";
// What was told is there.
constexpr const char* kHonest = "test -s f || test ! -s $CRASHGATE_STDOUT";
// The undisturbed recording, which comes first, is on tmpfs.
constexpr const char* kIsOnDisk = "[ \"$(stat -f -c %T .)\" != tmpfs ]";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

class DiskCheck : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto why_not = faultinject::why_no_recorded_disk(); !why_not.empty())
      GTEST_SKIP() << why_not;
    for (const auto& file_system : file_systems()) {
      if (const auto why_not = why_no_file_system(file_system); !why_not.empty())
        GTEST_SKIP() << why_not;
    }
  }
  void TearDown() override {
    if (!fs::exists(place_ / "scratch")) return;
    EXPECT_TRUE(fs::is_empty(place_ / "scratch"));
    EXPECT_FALSE(contains(content_of("/proc/self/mounts"), place_.path()));
  }

  std::vector<std::string> words(const std::string& workload, const std::string& checker,
                                 const std::string& disks, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"check", "--workload", workload, "--checker", checker, "--disk",
                               disks, "--json", place_ / "report.json"});
    if (std::ranges::find(more, "--budget") == more.end())
      more.insert(more.end(), {"--budget", "30states"});
    return more;
  }

  /// Its report; the exit status must be the expected one.
  json check(const std::string& workload, const std::string& checker, const std::string& disks,
             int status, const std::vector<std::string>& more = {}) {
    end_ = crashgate(place_, words(workload, checker, disks, more));
    EXPECT_EQ(end_.status, status) << end_.output << end_.errors;
    auto report = json::parse(content_of(place_ / "report.json"), nullptr, false);
    EXPECT_FALSE(report.is_discarded());
    return report;
  }

  /// That exit status, and a last line on standard error that says what is wrong.
  void expect_complaint(const std::vector<std::string>& all_words, const std::string& names,
                        int status) {
    const auto end = crashgate(place_, all_words);
    SCOPED_TRACE(::testing::PrintToString(all_words) + "\n" + end.output + end.errors);
    EXPECT_EQ(end.status, status);
    const auto start = end.errors.rfind("\ncrashgate");
    const auto last = start == std::string::npos ? end.errors : end.errors.substr(start + 1);
    EXPECT_TRUE(last.starts_with("crashgate"));
    EXPECT_EQ(count_lines(last), 1U);
    EXPECT_TRUE(contains(last, names));
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
  ProgramEnd end_;
};

const json* find_model(const json& report, const std::string& name) {
  for (const auto& model : report["models"]) {
    if (model["name"] == name) return &model;
  }
  return nullptr;
}

/// The finding of the disk engine; null: none.
const json* disk_finding(const json& report) {
  for (const auto& finding : report["findings"]) {
    if (finding["engine"] == "disk") return &finding;
  }
  return nullptr;
}

TEST_F(DiskCheck, SaysWhatRealFileSystemsLose) {
  const auto report = check(kUnsynced, kHonest, "ext4,xfs,btrfs", 1);
  const auto* finding = disk_finding(report);
  ASSERT_NE(finding, nullptr) << report.dump(1);
  EXPECT_EQ((*finding)["models"], json::array({"disk:btrfs", "disk:ext4", "disk:xfs"}));
  ASSERT_FALSE((*finding)["acknowledged"].empty());
  EXPECT_EQ((*finding)["acknowledged"][0]["path"], "done");
  EXPECT_TRUE(contains((*finding)["message"], "power lost after"));
  for (const auto* name : {"disk:ext4", "disk:xfs", "disk:btrfs"}) {
    const auto* row = find_model(report, name);
    ASSERT_NE(row, nullptr) << name;
    EXPECT_GE((*row)["states_checked"].get<int>(), 2);
    EXPECT_GE((*row)["disk_states"].get<int>(), (*row)["states_checked"].get<int>());
    EXPECT_GE((*row)["seconds_to_first_finding"].get<double>(), 0);
  }
}

TEST_F(DiskCheck, PassesWhatIsSynced) {
  const auto report = check(kSynced, kHonest, "ext4,xfs,btrfs", 0, {"--fsck"});
  EXPECT_EQ(report["verdict"], "pass") << report.dump(1);
  EXPECT_EQ(report["engines"][1]["name"], "disk");
  EXPECT_TRUE(report["engines"][1]["skipped"].is_null());
  EXPECT_EQ(report["engines"][1]["recordings"], 9);
  EXPECT_GE(report["engines"][1]["states"].get<int>(), 30);
}

TEST_F(DiskCheck, WhatTheSetupLeavesIsDurable) {
  const auto report = check("echo told", "grep -q before f", "ext4,xfs,btrfs", 0,
                            {"--setup", "mkdir d && echo before >d/g && ln d/g f"});
  EXPECT_EQ(report["verdict"], "pass") << report.dump(1);
}

TEST_F(DiskCheck, StandsAtThePathOfTheWorkload) {
  // The program finds its file by a path that it has written down.
  const auto report = check("echo a >f; echo $PWD/f >where; sync; echo done",
                            "test ! -s $CRASHGATE_STDOUT || cat $(cat where)", "ext4", 0);
  EXPECT_EQ(report["verdict"], "pass") << report.dump(1);
}

TEST_F(DiskCheck, ReplaysFromTheSavedDisk) {
  const auto report = check(kUnsynced, kHonest, "xfs", 1);
  const auto* finding = disk_finding(report);
  ASSERT_NE(finding, nullptr);
  const auto path = place_ / (*finding)["case"].get<std::string>();
  EXPECT_TRUE(fs::is_directory(path + "/tree"));
  EXPECT_EQ(content_of(path + "/stdout"), "done\n");
  struct stat image;
  ASSERT_EQ(::stat((path + "/disk.img").c_str(), &image), 0);
  EXPECT_LT(image.st_blocks * 512, image.st_size / 8) << "not sparse";
  const auto first = crashgate(place_, {"replay", path});
  EXPECT_EQ(first.status, 1) << first.output << first.errors;
  EXPECT_TRUE(contains(first.output, "FAIL: as recorded")) << first.output;
  EXPECT_EQ(crashgate(place_, {"replay", path}).output, first.output);

  // Damage to the file system is told from the program's.
  std::fstream(path + "/disk.img", std::ios::in | std::ios::out | std::ios::binary)
      << std::string(4096, 'x');
  const auto damaged = crashgate(place_, {"replay", path});
  EXPECT_EQ(damaged.status, 1) << damaged.output << damaged.errors;
  EXPECT_TRUE(contains(damaged.output, "file-system: xfs does not recover")) << damaged.output;
  EXPECT_TRUE(contains(damaged.output, "another violation")) << damaged.output;

  fs::remove(path + "/disk.img");
  expect_complaint({"replay", path}, "disk.img", 2);
}

TEST_F(DiskCheck, ReplaysWithTheRecovery) {
  // It takes away what is empty; the checker has nothing to say of that.
  const auto report =
      check("printf old >f; sync f; sync .; echo begun; printf new >f.tmp; mv f.tmp f; sync .",
            "test -e f || test ! -s $CRASHGATE_STDOUT", "xfs", 1,
            {"--model", "kill", "--recover", "[ -s f ] || rm -f f"});
  const auto* finding = disk_finding(report);
  ASSERT_NE(finding, nullptr) << report.dump(1);
  const std::string path = (*finding)["case"];
  const auto replayed = crashgate(place_, {"replay", path});
  EXPECT_EQ(replayed.status, 1) << replayed.output << replayed.errors;
  EXPECT_TRUE(contains(replayed.output, "FAIL: as recorded")) << replayed.output;

  auto content = json::parse(content_of(place_ / path + "/case.json"));
  content["subject"].erase("recover");
  std::ofstream(place_ / path + "/case.json") << content;
  expect_complaint({"replay", path}, "does not say who judges it", 2);
}

TEST_F(DiskCheck, OptionsReachTheFileSystem) {
  const auto report =
      check(kUnsynced, kHonest, "ext4", 1,
            {"--mkfs-options", "-O ^has_journal", "--mount-options", "noatime,sync"});
  const auto* finding = disk_finding(report);
  if (finding != nullptr) {
    EXPECT_TRUE(contains((*finding)["message"], "mkfs -O ^has_journal; mount noatime,sync"));
  }
}

TEST_F(DiskCheck, RefusesWrongWords) {
  expect_complaint(words(kSynced, "true", "ext9"), "ext9", 2);
  expect_complaint(words(kSynced, "true", "ext4", {"--mkfs-options", "-O nonsense"}), "nonsense",
                   2);
  expect_complaint(words(kSynced, "true", "xfs", {"--mount-options", "nonsense=1"}), "nonsense", 2);
  expect_complaint({"check", "--workload", "true", "--checker", "true", "--fsck"}, "--disk", 2);
  expect_complaint({"check", "--workload", "true", "--checker", "true", "--require", "steam"},
                   "steam", 2);
}

TEST_F(DiskCheck, FailOnTellsDisksFromModels) {
  check(kUnsynced, kHonest, "ext4", 1, {"--fail-on", "disk:ext4"});
  check(kUnsynced, kHonest, "ext4", 0, {"--fail-on", "kill"});
  expect_complaint(words(kSynced, "true", "ext4", {"--fail-on", "disk:xfs"}), "disk:xfs", 2);
  expect_complaint(words(kSynced, "true", "ext4", {"--fail-on", "disk:ext9"}), "ext9", 2);
}

// -- What goes wrong ---------------------------------------------------------------------------

TEST_F(DiskCheck, AFullDiskIsTheWorkloadsFailure) {
  const auto workload = std::string("echo a >f; if ") + kIsOnDisk +
                        "; then dd if=/dev/zero of=big bs=1M count=600 status=none; fi";
  expect_complaint(words(workload, "true", "ext4"),
                   "the workload ended with exit status 1 on a disk of ext4", 2);
}

TEST_F(DiskCheck, AServerThatDiesIsSaid) {
  const auto workload = std::string("echo a >f; if ") + kIsOnDisk +
                        "; then kill -9 $(cat /proc/$PPID/task/*/children | tr ' ' '\\n' | grep -v "
                        "\"^$$\\$\"); fi; sync f";
  const auto end = crashgate(place_, words(workload, "true", "ext4"));
  EXPECT_EQ(end.status, 4) << end.output << end.errors;
  EXPECT_TRUE(contains(end.errors, "crashgate check: recorded disk")) << end.errors;
}

TEST_F(DiskCheck, WhatACheckerLeavesRunningIsKilled) {
  const auto checker = "setsid sh -c 'echo $$ >>" + place_ / "left" +
                       "; exec sleep 1000 <f' >/dev/null 2>&1 & while ! test -s " +
                       place_ / "left; do :; done";
  check(kSynced, "test ! -f f || { " + checker + "; }", "xfs", 0, {"--budget", "10states"});
  ASSERT_NE(content_of(place_ / "left"), "");
}

TEST_F(DiskCheck, ALoopCheckerMayHoldAFileOpen) {
  std::ofstream(place_ / "hold") << "exec 9</\nwhile read -r directory; do\n"
                                    "  test ! -f \"${directory%%\t*}/f\" || "
                                    "exec 9<\"${directory%%\t*}/f\"\n  echo ok\ndone\n";
  end_ = crashgate(place_, {"check", "--workload", kSynced, "--checker-loop",
                            "sh " + place_ / "hold", "--disk", "ext4", "--budget", "10states"});
  EXPECT_EQ(end_.status, 0) << end_.output << end_.errors;
}

TEST_F(DiskCheck, TwoRunsAtOnceDoNotMeet) {
  const testing::TemporaryDirectory other(testing::fast_parent());
  const std::vector<std::string> shared{"--workload", kSynced,     "--checker", kHonest,
                                        "--disk",     "btrfs,xfs", "--budget",  "20states"};
  std::vector<std::string> both{CRASHGATE_PATH, "check"};
  both.insert(both.end(), shared.begin(), shared.end());
  Program first(place_, both);
  Program second(other, both);
  for (auto* program : {&first, &second}) {
    const auto end = program->wait();
    EXPECT_EQ(end.status, 0) << end.output << end.errors;
  }
  EXPECT_TRUE(fs::is_empty(other / "scratch"));
}

TEST_F(DiskCheck, WithoutFuseTheEngineIsSkipped) {
  const auto without_fuse = [&](const std::string& more) {
    const auto command =
        "mount --bind /dev/fuse /dev/fuse && mount -o remount,bind,nodev /dev/fuse && "
        "exec " CRASHGATE_PATH " check --workload '" +
        std::string(kSynced) + "' --checker '" + kHonest + "' --disk ext4 --budget 30states " +
        more;
    return Program(place_, {"/usr/bin/unshare", "-m", "sh", "-c", command}).wait();
  };
  const auto skipped = without_fuse("");
  EXPECT_EQ(skipped.status, 0) << skipped.output << skipped.errors;
  EXPECT_TRUE(contains(skipped.output, "disk         skipped: ")) << skipped.output;
  const auto required = without_fuse("--require disk");
  EXPECT_EQ(required.status, 3) << required.output << required.errors;
  EXPECT_TRUE(contains(required.output, "engine disk was skipped")) << required.output;
  const auto gate = without_fuse("--fail-on disk:ext4");
  EXPECT_EQ(gate.status, 3) << gate.output << gate.errors;
  EXPECT_TRUE(contains(gate.output, "engine disk was skipped")) << gate.output;
}

/// Ends once `path` is there.
void wait_for(const std::string& path) {
  while (!fs::exists(path)) ::poll(nullptr, 0, 5);
}

class DiskCheckInterrupted : public DiskCheck, public ::testing::WithParamInterface<int> {
 protected:
  std::string begin() const { return "touch '" + place_ / "begun" + "'; "; }
  /// Interrupts once `begun` is there; nothing of it may be left.
  void interrupt(const std::string& workload, const std::string& checker) {
    auto all = words(workload, checker, "ext4", {"--checker-timeout", "500"});
    all.insert(all.begin(), CRASHGATE_PATH);
    Program program(place_, all);
    const auto group = program.pid();
    wait_for(place_ / "begun");
    ::kill(program.pid(), GetParam());
    const auto end = program.wait();
    EXPECT_EQ(end.status, 128 + GetParam()) << end.output << end.errors;
    // Who was killed takes the time that it takes.
    const auto uses_it = [&] {
      for (const auto& entry : fs::directory_iterator("/proc")) {
        if (contains(content_of(entry.path() / "environ"), place_.path()) ||
            contains(content_of(entry.path() / "mounts"), place_.path())) {
          return true;
        }
      }
      return ::kill(-group, 0) == 0;
    };
    for (int i = 0; i < 2000 && uses_it(); ++i) ::poll(nullptr, 0, 5);
    EXPECT_FALSE(uses_it());
    // What was killed outright leaves its directory, and nothing else.
    if (GetParam() == SIGKILL) fs::remove_all(place_ / "scratch");
  }
};

TEST_P(DiskCheckInterrupted, WhileItRecords) {
  interrupt(std::string("echo a >f; if ") + kIsOnDisk + "; then " + begin() + "sleep 1000; fi",
            "true");
}

TEST_P(DiskCheckInterrupted, WhileItJudges) {
  interrupt(kSynced, std::string("if ") + kIsOnDisk + "; then " + begin() + "sleep 1000; fi");
}

INSTANTIATE_TEST_SUITE_P(Check, DiskCheckInterrupted, ::testing::Values(SIGINT, SIGTERM, SIGKILL),
                         [](const auto& one) {
                           return std::string(one.param == SIGINT    ? "Interrupt"
                                              : one.param == SIGTERM ? "Terminate"
                                                                     : "Kill");
                         });

}  // namespace
}  // namespace crashgate::harness
