// `crashgate check` as a user meets it: wrong use, awkward workloads and checkers, what is left
// behind.
#include <sys/mount.h>

#include <set>

#include "tests/check/check_fixture.h"

namespace crashgate::harness {
namespace {

TEST_F(Check, RefusesWrongWords) {
  const std::vector<std::string> good{"--workload", kUnsynced, "--checker", "true"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), good.begin(), good.end());
    return more;
  };
  expect_refused({"--checker", "true"}, "--workload");
  expect_refused({"--workload", "true"}, "--checker");
  expect_refused(with({"--checker-loop", "true"}), "--checker");
  expect_refused(with({"--model", "ext9"}), "ext9");
  expect_refused(with({"--fail-on", "ext9"}), "ext9");
  expect_refused(with({"--model", "kill", "--fail-on", "posix"}), "posix");
  expect_refused(with({"--fail-on", "disk:ext4"}), "disk:ext4");
  expect_refused(with({"--budget", "5x"}), "5x");
  expect_refused(with({"--budget", "0states"}), "0states");
  expect_refused(with({"--checker-timeout", "0"}), "--checker-timeout");
  expect_refused(with({"--workload-timeout", "-1"}), "--workload-timeout");
  expect_refused(with({"--recorder", "tape"}), "tape");
  expect_refused(with({"--frobnicate"}), "--frobnicate");
  expect_refused(with({"--json", place_ / "no/such/file"}), "no/such/file");
  for (const auto* out : {"", "/proc/nope", "/dev/null/x", "good"}) {
    write("good", "");
    expect_refused(with({"--out", out}), "--out: cannot write to \"" + std::string(out));
  }
}

TEST_F(Check, RefusesCommandsThatDoNotWork) {
  expect_refused({"--workload", "exit 3", "--checker", "true"}, "exit status 3");
  expect_refused({"--workload", "kill -SEGV $$", "--checker", "true"}, "SIGSEGV");
  expect_refused({"--workload", "true", "--checker", "true", "--setup", "exit 9"}, "the setup");
  expect_refused({"--workload", kUnsynced, "--checker", "/no/such/checker --now"},
                 "/no/such/checker");
  expect_refused({"--workload", kUnsynced, "--checker", "./here"}, "./here");
  expect_refused({"--workload", kUnsynced, "--checker", "nosuchchecker && true"}, "nosuchchecker");
  expect_refused({"--workload", kUnsynced, "--checker-loop", "/no/such/checker"},
                 "/no/such/checker");
  expect_refused({"--workload", kUnsynced, "--checker-loop", "exit 7"}, "exit status 7");
}

TEST_F(Check, RefusesCommandsThatDoNotEnd) {
  // Each leaves its process id, and ends only when it is killed.
  const auto forever = "echo $$ >'" + place_ / "pid" + "'; sleep 1000 & sleep 1000";
  for (const std::string recorder : {"ptrace", "preload"}) {
    for (const std::string command : {"--workload", "--setup"}) {
      std::vector<std::string> words{command,      forever,  "--checker",          "true",
                                     "--recorder", recorder, "--workload-timeout", "0.5"};
      if (command == "--setup") words.insert(words.end(), {"--workload", "true"});
      expect_refused(words, "does not end within 0.5 s (--workload-timeout)");
      EXPECT_FALSE(is_running(content_of(place_ / "pid")));
    }
  }
}

TEST_F(Check, RefusesACheckerThatRejectsTheDirectoryWithoutACrash) {
  expect_refused({"--workload", kUnsynced, "--checker", "echo I do not like it >&2; false"},
                 "I do not like it");
}

TEST_F(Check, FindsWhatWasToldAndLost) {
  const auto report = check(kUnsynced, kHonest, 1);
  EXPECT_EQ(report["verdict"], "fail");
  ASSERT_EQ(report["findings"].size(), 1U);
  EXPECT_EQ(report["findings"][0]["kind"], "checker");
  EXPECT_EQ(report["findings"][0]["acknowledged"][0]["path"], "done");
  const std::set<std::string> models = report["findings"][0]["models"];
  EXPECT_EQ(models, (std::set<std::string>{"posix", "ext4", "xfs", "btrfs"}));
  const auto line = "\ncrashgate replay " + report["findings"][0]["case"].get<std::string>() + "\n";
  EXPECT_TRUE(end_.output.ends_with(line)) << end_.output;
}

TEST_F(Check, ModelsAreThoseAskedFor) {
  const auto report = check(kUnsynced, kHonest, 1, {"--model", "kill,btrfs,kill"});
  ASSERT_EQ(report["models"].size(), 2U);
  EXPECT_EQ(report["models"][0]["name"], "kill");
  EXPECT_EQ(report["models"][1]["name"], "btrfs");
  EXPECT_EQ(report["findings"][0]["models"], json{"btrfs"});
  EXPECT_EQ(check(kUnsynced, kHonest, 0, {"--model", "kill"})["verdict"], "pass");
}

TEST_F(Check, FindingsUnderOtherModelsAreReportedOnly) {
  const auto report = check(kUnsynced, kHonest, 0, {"--fail-on", "kill"});
  EXPECT_EQ(report["verdict"], "pass");
  EXPECT_EQ(report["findings"].size(), 1U);
  EXPECT_TRUE(contains(end_.output, "PASS: 1 violation, none under")) << end_.output;
  EXPECT_EQ(check(kUnsynced, kHonest, 1, {"--fail-on", "kill,xfs"})["verdict"], "fail");
}

TEST_F(Check, TellsOppositeLossesOfOneRenameApart) {
  const auto report = check("mv d/x e/x; sync e; sync d",
                            "[ ! -e d/x ] || [ ! -e e/x ] || { echo two names >&2; exit 1; }; "
                            "[ -e d/x ] || [ -e e/x ] || { echo no name >&2; exit 1; }",
                            1, {"--setup", "mkdir d e; touch d/x", "--model", "posix"});
  ASSERT_EQ(report["findings"].size(), 2U) << report["findings"].dump(1);
  EXPECT_NE(report["findings"][0]["id"], report["findings"][1]["id"]);
}

TEST_F(Check, QuotesNamesAndCountsWell) {
  check("echo a >'f\ng'; echo done", "test -s 'f\ng' || test ! -s $CRASHGATE_STDOUT", 1,
        {"--model", "posix"});
  EXPECT_TRUE(contains(end_.output, "fix: fsync \"f\\ng\" after")) << end_.output;
  EXPECT_FALSE(contains(end_.output, "f\ng\"")) << end_.output;
  EXPECT_TRUE(contains(end_.output, ", 1 acknowledgement of 1 process")) << end_.output;
}

TEST_F(Check, NumberOfJobsChangesNoExample) {
  const auto* workload = "echo new >f.tmp; mv f.tmp f; echo saved";
  const auto* checker =
      "[ \"$(cat f)\" = new ] || { [ \"$(cat f)\" = old ] && test ! -s $CRASHGATE_STDOUT; }";
  const auto found = [&](const std::string& jobs) {
    auto finding =
        check(workload, checker, 1, {"--setup", "echo old >f", "--jobs", jobs})["findings"][0];
    return finding.dump(1);
  };
  const auto alone = found("1");
  for (const auto* jobs : {"2", "3", "5"}) EXPECT_EQ(found(jobs), alone) << jobs;
}

TEST_F(Check, RequiresOnlyEnginesThatItRuns) {
  EXPECT_EQ(check(kSynced, kHonest, 0, {"--require", "power"})["verdict"], "pass");
  for (const auto& [engine, option] : {std::pair("disk", "--disk"), {"recovery", "--recover"}}) {
    const auto report = check(kSynced, kHonest, 3, {"--require", engine});
    EXPECT_EQ(report["inconclusive_reasons"][0],
              std::string("engine ") + engine + " was skipped: " + option + " was not given");
  }
  expect_refused({"--workload", "true", "--checker", "true", "--require", "kill"}, "kill");
}

TEST_F(Check, QuietIsSilentUnlessSomethingIsWrong) {
  auto end = run({"--workload", kSynced, "--checker", kHonest, "--quiet"});
  EXPECT_EQ(end.status, 0);
  EXPECT_EQ(end.output + end.errors, "");
  end = run({"--workload", kUnsynced, "--checker", kHonest, "--quiet"});
  EXPECT_EQ(end.status, 1);
  EXPECT_TRUE(end.output.starts_with("crashgate ")) << end.output;
  EXPECT_TRUE(contains(end.output, "  seed 1  ")) << end.output;
  EXPECT_TRUE(contains(end.output, "crashgate replay ")) << end.output;
}

TEST_F(Check, JsonOnStandardOutputIsAlone) {
  const auto end = run({"--workload", kUnsynced, "--checker", kHonest, "--json", "-"});
  EXPECT_EQ(end.status, 1);
  const auto report = json::parse(end.output, nullptr, false);
  ASSERT_FALSE(report.is_discarded()) << end.output;
  EXPECT_EQ(report["verdict"], "fail");
}

TEST_F(Check, CasesGoWhereTheyAreAskedTo) {
  const auto report = check(kUnsynced, kHonest, 1, {"--out", place_ / "cases/of/today"});
  const std::string path = report["findings"][0]["case"];
  EXPECT_TRUE(path.starts_with(place_ / "cases/of/today/")) << path;
  EXPECT_EQ(content_of(path + "/stdout"), "done\n");
  EXPECT_TRUE(fs::is_directory(path + "/tree"));
  EXPECT_FALSE(fs::exists(place_ / ".crashgate"));
  fs::rename(path, place_ / "moved");
  EXPECT_EQ(crashgate(place_, {"replay", place_ / "moved"}).status, 1);
  write("moved/trace", "no trace");
  EXPECT_EQ(crashgate(place_, {"replay", place_ / "moved"}).status, 2);
}

TEST_F(Check, WhatItSaysToRunCanBeRun) {
  const auto report = check(kUnsynced, kHonest, 1, {"--out", "my friend's cases"});
  const std::string path = report["findings"][0]["case"];
  EXPECT_TRUE(path.starts_with("my friend's cases/")) << path;
  const auto last = end_.output.rfind("\ncrashgate replay ") + 1;
  const auto line = end_.output.substr(last);
  EXPECT_EQ(line, "crashgate replay 'my friend'\\''s" + path.substr(11) + "'\n");
  EXPECT_TRUE(contains(end_.output, "  replay: " + line)) << end_.output;
  const auto as_typed = [&](const std::string& words) {
    return Program(place_,
                   {"/bin/sh", "-c", "crashgate() { exec " CRASHGATE_PATH " \"$@\"; }; " + words})
        .wait();
  };
  EXPECT_EQ(as_typed(line).status, 1);
  fs::remove_all(place_ / "my friend's cases");
  EXPECT_EQ(as_typed("crashgate " + report["command"].get<std::string>()).status, 1);
  EXPECT_TRUE(fs::exists(place_ / path));
}

TEST_F(Check, NoCasesNoDirectoryOfCases) {
  check(kSynced, kHonest, 0, {"--out", "cases/of/today"});
  EXPECT_FALSE(fs::exists(place_ / "cases"));
}

TEST_F(Check, ACaseThatDoesNotSayWhoJudgesItIsRefused) {
  const auto report = check(kUnsynced, kHonest, 1);
  const std::string path = report["findings"][0]["case"].get<std::string>() + "/case.json";
  auto content = json::parse(content_of(place_ / path));
  content["subject"].erase("checker");
  write(path, content.dump());
  const auto end = crashgate(place_, {"replay", path});
  EXPECT_EQ(end.status, 2) << end.output;
  EXPECT_EQ(count_lines(end.errors), 1U) << end.errors;
  EXPECT_TRUE(contains(end.errors, "does not say who judges it")) << end.errors;
}

TEST_F(Check, TellsOfWritesOutsideTheDirectory) {
  const auto report = check("echo b >'" + place_ / "outside" + "'; " + kSynced, kHonest, 0);
  EXPECT_TRUE(says(report["notes"], place_ / "outside")) << report["notes"];
}

TEST_F(Check, TellsOfADaemonAndKillsIt) {
  const auto pid_file = place_ / "pid";
  const auto report = check(
      std::string(kSynced) + "; setsid sleep 1000 >/dev/null 2>&1 & echo $! >'" + pid_file + "'",
      kHonest, 0);
  EXPECT_TRUE(says(report["notes"], "sleep")) << report["notes"];
  EXPECT_FALSE(is_running(content_of(pid_file)));
}

TEST_F(Check, TellsOfADaemonOfTheSetup) {
  const auto pid_file = place_ / "pid";
  const auto report =
      check(kSynced, kHonest, 0,
            {"--setup", "setsid sleep 1000 >/dev/null 2>&1 & echo $! >'" + pid_file + "'"});
  EXPECT_TRUE(says(report["notes"], "outlived the setup")) << report["notes"];
  EXPECT_FALSE(is_running(content_of(pid_file)));
}

TEST_F(Check, ManyShortLivedProcessesLeaveNothing) {
  const auto report = check(
      "i=0; while [ $i -lt 300 ]; do (exit 0) & i=$((i+1)); done; wait; " + std::string(kSynced),
      kHonest, 0);
  EXPECT_TRUE(report["notes"].empty()) << report["notes"];
}

TEST_F(Check, TellsOfOutputThatWaitedInABuffer) {
  const std::string words =
      "import os, sys; sys.stdout = open(1, 'w', 8192); print('begun'); "
      "open('f', 'w').write('a'); os.sync(); print('done')";
  if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "no python3";
  const auto buffered = check("python3 -c \"" + words + "\"", kHonest, 0);
  EXPECT_TRUE(says(buffered["notes"], "--tty")) << buffered["notes"];
  const auto one_line = check(kSynced, kHonest, 0);
  EXPECT_TRUE(one_line["notes"].empty()) << one_line["notes"];
}

TEST_F(Check, AFlakyCheckerIsInconclusive) {
  // Every other time, wherever the state is; the first time is the directory without a crash.
  const auto counter = place_ / "counter";
  const auto report =
      check(kSynced, "echo >>'" + counter + "'; [ $(($(wc -l <'" + counter + "') % 2)) = 1 ]", 3,
            {"--jobs", "1"});
  EXPECT_EQ(report["verdict"], "inconclusive");
  EXPECT_TRUE(says(report["inconclusive_reasons"], "flaky")) << report["inconclusive_reasons"];
  EXPECT_TRUE(report["findings"].empty());
}

TEST_F(Check, AHangingCheckerIsAFinding) {
  const auto report =
      check("echo a >f; sync", "[ -s f ] || sleep 1000", 1, {"--checker-timeout", "0.3"});
  ASSERT_EQ(report["findings"].size(), 1U);
  EXPECT_EQ(report["findings"][0]["kind"], "hang");
  EXPECT_EQ(crashgate(place_, {"replay", report["findings"][0]["case"]}).status, 1);
}

TEST_F(Check, WhatTheCheckerRunsMayBeLost) {
  constexpr const char* kInstall = "printf '#!/bin/sh\n' >tool; chmod +x tool; echo done";
  for (const auto* checker : {"./tool", "test ! -s $CRASHGATE_STDOUT || ./tool"}) {
    const auto report = check(kInstall, checker, 1);
    EXPECT_EQ(report["verdict"], "fail");
    EXPECT_EQ(report["findings"][0]["kind"], "checker");
  }
}

TEST_F(Check, ALoopCheckerThatDiesOfAStateRejectsIt) {
  write("loop",
        "#!/bin/sh\nwhile read -r directory told; do\n"
        "  [ -s \"$directory/f\" ] || [ ! -s \"$told\" ] || exit 1\n  echo ok\ndone\n");
  const auto end = run({"--workload", kUnsynced, "--checker-loop", place_ / "loop"});
  EXPECT_EQ(end.status, 1) << end.output << end.errors;
}

TEST_F(Check, ALoopCheckerAnswersAsACheckerDoes) {
  write("loop",
        "#!/bin/sh\nwhile read -r directory told; do\n"
        "  if [ -s \"$directory/f\" ] || [ ! -s \"$told\" ]; then echo ok\n"
        "  else echo lost; fi\ndone\n");
  for (const auto* workload : {kUnsynced, kSynced}) {
    const auto single = check(workload, kHonest, workload == kUnsynced ? 1 : 0);
    const auto end = run({"--workload", workload, "--checker-loop", place_ / "loop", "--json",
                          report_path_, "--budget", "300states"});
    const auto loop = json::parse(content_of(report_path_));
    EXPECT_EQ(end.status, end_.status);
    EXPECT_EQ(loop["verdict"], single["verdict"]);
    ASSERT_EQ(loop["findings"].size(), single["findings"].size());
    for (std::size_t i = 0; i < loop["findings"].size(); ++i) {
      EXPECT_EQ(loop["findings"][i]["count"], single["findings"][i]["count"]);
      EXPECT_EQ(loop["findings"][i]["models"], single["findings"][i]["models"]);
    }
    for (std::size_t i = 0; i < loop["models"].size(); ++i)
      EXPECT_EQ(loop["models"][i]["states_checked"], single["models"][i]["states_checked"]);
  }
}

TEST_F(Check, ACheckerMayWriteIntoTheState) {
  const auto vandal = std::string(kHonest) +
                      " || exit 1; rm -rf *; mkdir x; echo z >x/f; echo z >f; chmod 0 x; "
                      "ln -s / y; echo more >>$CRASHGATE_STDOUT";
  const auto clean = check(kUnsynced, kHonest, 1);
  const auto written = check(kUnsynced, vandal, 1);
  EXPECT_EQ(written["findings"][0]["count"], clean["findings"][0]["count"]);
  EXPECT_EQ(check(kSynced, vandal, 0)["verdict"], "pass");
}

TEST_F(Check, HearsMegabytesOfOutput) {
  const auto report =
      check("head -c 5000000 /dev/zero | tr '\\0' x; echo a >f; sync f; sync .; echo done",
            "test -s f || test $(wc -c <$CRASHGATE_STDOUT) -le 5000000", 0);
  EXPECT_EQ(report["verdict"], "pass");
}

TEST_F(Check, ManyFiles) {
  const auto workload = [](const std::string& count, const std::string& barrier) {
    return "i=0; while [ $i -lt " + count + " ]; do echo $i >f$i; i=$((i+1)); done; " + barrier +
           "echo done";
  };
  const auto* checker = "[ ! -s $CRASHGATE_STDOUT ] || [ -s f0 -a -s f99 ]";
  const std::vector<std::string> few{"--budget", "50states", "--model", "xfs,kill"};
  EXPECT_EQ(check(workload("2000", "sync; "), checker, 0, few)["verdict"], "pass");
  const auto report = check(workload("100", ""), checker, 1, few);
  EXPECT_EQ(report["findings"][0]["models"], json{"xfs"});
}

TEST_F(Check, TenThousandFiles) {
  ASSERT_TRUE(compile("many", R"(
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
  for (int i = 0; i < 10000; ++i) {
    char name[16];
    snprintf(name, sizeof name, "f%d", i);
    const int file = open(name, O_WRONLY | O_CREAT, 0600);
    if (write(file, name, 4) < 0 || close(file) != 0) return 1;
  }
  return write(1, "done\n", 5) != 5;
}
)",
                      ""));
  const auto report = check(place_ / "many", "[ ! -s $CRASHGATE_STDOUT ] || [ -s f9999 ]", 1,
                            {"--budget", "20states"});
  ASSERT_EQ(report["findings"].size(), 1U);
  EXPECT_EQ(report["findings"][0]["lost"][0]["path"], "f9999");
}

TEST_F(Check, TheStateKeepsLinksHolesAndAttributes) {
  constexpr const char* kMake =
      "echo a >f; ln f g; ln -s f s; truncate -s 1000000 hole; chmod 4751 f; mkfifo p; "
      "python3 -c \"import os; os.setxattr('f', 'user.note', b'text')\"; sync; echo done";
  constexpr const char* kSame =
      "[ ! -s $CRASHGATE_STDOUT ] || { [ f -ef g ] && [ \"$(readlink s)\" = f ] && [ -p p ] && "
      "[ \"$(stat -c %a f)\" = 4751 ] && [ \"$(stat -c %s-%b hole)\" = 1000000-0 ] && "
      "python3 -c \"import os; assert os.getxattr('f', 'user.note') == b'text'\"; }";
  fs::create_directory(place_ / "scratch");
  if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "no python3";
  EXPECT_EQ(check(kMake, kSame, 0)["verdict"], "pass");
}

TEST_F(Check, SaysThatItsTemporaryDirectoryIsFull) {
  const auto scratch = place_ / "scratch";
  fs::create_directory(scratch);
  if (::mount("none", scratch.c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "mounting is not permitted";
  for (const auto* workload : {"head -c 40000 /dev/zero | tr '\\0' x >f; echo done",
                               "head -c 400000 /dev/zero >f 2>/dev/null; echo done"}) {
    const auto end = run({"--workload", workload, "--checker", "true"});
    EXPECT_EQ(end.status, 4) << end.output;
    EXPECT_EQ(count_lines(end.errors), 1U) << end.errors;
    EXPECT_TRUE(contains(end.errors, "No space left on device")) << end.errors;
    EXPECT_TRUE(fs::is_empty(scratch));
  }
  EXPECT_EQ(::umount2(scratch.c_str(), MNT_DETACH), 0);
}

TEST_F(Check, ALargeFile) {
  const auto workload = [](const std::string& barrier) {
    return "head -c 20000000 /dev/zero | tr '\\0' x | dd of=f bs=1M iflag=fullblock 2>/dev/null; " +
           barrier + "echo done";
  };
  const auto* checker = "[ ! -s $CRASHGATE_STDOUT ] || [ \"$(stat -c %s f 2>&1)\" = 20000000 ]";
  EXPECT_EQ(check(workload("sync f; sync .; "), checker, 0)["verdict"], "pass");
  EXPECT_EQ(check(workload(""), checker, 1)["verdict"], "fail");
}

TEST_F(Check, IgnoredFilesAreNotPartOfTheState) {
  const auto workload = "echo a >f; echo b >f.tmp; echo done";
  const auto report =
      check(workload, "[ ! -e f.tmp ] && (" + std::string(kHonest) + ")", 1, {"--ignore", "*.tmp"});
  EXPECT_EQ(report["engines"][0]["events"], 2);
}

}  // namespace
}  // namespace crashgate::harness
