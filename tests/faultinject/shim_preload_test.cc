// The shim as libcrashgate_shim.so, in programs that know nothing of it; and run_under_shim, which
// preloads it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "faultinject/shared_page.h"
#include "faultinject/shim_command.h"

namespace crashgate::faultinject {
namespace {

namespace fs = std::filesystem;
const std::string kShim = CRASHGATE_SHIM_PATH;
const std::string kProbe = CRASHGATE_PROBE_PATH;

class ShimPreloadTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/shim_preload_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    setenv("TMPDIR", name, 1);
    for (const char* variable :
         {"FIU_ENABLE", "FIU_CTRL_FIFO", "CRASHGATE_RULES", "CRASHGATE_PAGE"}) {
      unsetenv(variable);
    }
  }
  void TearDown() override {
    unsetenv("TMPDIR");
    fs::remove_all(directory_);
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string content(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
  }

  /// Under the shim, with standard output in the file "out" and standard error in "err"; the exit
  /// status.
  int run(const std::vector<std::string>& rules, const std::vector<std::string>& program) {
    std::vector<std::string> shell = {"/bin/sh", "-c", "exec \"$@\" >\"$0/out\" 2>\"$0/err\"",
                                      directory_};
    shell.insert(shell.end(), program.begin(), program.end());
    auto ran = run_under_shim(rules, shell, kShim);
    EXPECT_TRUE(ran.has_value()) << (ran ? "" : ran.error().message);
    return ran ? ran->exit_status : -1;
  }

  /// A program with the shim preloaded by hand and a page of its own.
  struct Outcome {
    int status = -1;
    std::uint64_t row_calls = 0;
  };
  Outcome probe(const std::string& verb, const std::string& name, Row row, int error) {
    std::string page_path = path("page");
    auto page = MappedPage::create(page_path.c_str());
    std::string rules = name + ":error=" + std::to_string(error);
    pid_t pid = fork();
    if (pid == 0) {
      setenv("LD_PRELOAD", kShim.c_str(), 1);
      setenv("CRASHGATE_PAGE", page_path.c_str(), 1);
      setenv("CRASHGATE_RULES", rules.c_str(), 1);
      execl(kProbe.c_str(), kProbe.c_str(), verb.c_str(), name.c_str(), nullptr);
      _exit(97);
    }
    Outcome outcome;
    waitpid(pid, &outcome.status, 0);
    outcome.row_calls = (*page)->row_calls[static_cast<std::size_t>(row)];
    unlink(page_path.c_str());
    return outcome;
  }
  void expect_reached(const std::string& verb, const std::string& name, Row row) {
    const RowInfo& info = row_info(row);
    int error = info.errnos.empty() ? EIO : info.errnos.front();
    Outcome outcome = probe(verb, name, row, error);
    EXPECT_EQ(outcome.row_calls, 1u) << verb << ' ' << name;
    EXPECT_TRUE(WIFEXITED(outcome.status)) << verb << ' ' << name;
    if (!info.errnos.empty() && name != "closefrom") {
      EXPECT_EQ(WEXITSTATUS(outcome.status), error) << verb << ' ' << name;
    }
  }

  std::string directory_;
};

TEST_F(ShimPreloadTest, WhatOutlivesTheRunIsLeftInPeace) {
  // It says when the page has gone, starts a program, and says how that ended.
  EXPECT_EQ(run({"fsync:error=EIO"},
                {"/bin/sh", "-c",
                 "(while test -e $CRASHGATE_PAGE; do sleep 0.01; done; /bin/date >$0/date;"
                 " echo $? >$0/status.new; mv $0/status.new $0/status) &",
                 directory_}),
            0);
  for (int tries = 0; tries < 3000 && !fs::exists(path("status")); ++tries) usleep(10'000);
  EXPECT_EQ(content("status"), "0\n");
  EXPECT_NE(content("date"), "");
  EXPECT_NE(content("err").find("it counts calls by itself"), std::string::npos) << content("err");
}

TEST_F(ShimPreloadTest, AnotherUserRunsWithAPageOfItsOwn) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (!fs::exists("/usr/bin/setpriv")) GTEST_SKIP() << "setpriv is not installed";
  if (system(("setpriv --reuid 65534 --clear-groups test -r " + kShim).c_str()) != 0)
    GTEST_SKIP() << "another user cannot read " << kShim;
  const auto as_another = [&](const std::vector<std::string>& rules) {
    return run(rules, {"/usr/bin/setpriv", "--reuid", "65534", "--clear-groups", "/bin/sh", "-c",
                       "/bin/cat /etc/hostname && /bin/cat /etc/hostname"});
  };
  EXPECT_EQ(as_another({"fsync:error=EIO"}), 0);
  EXPECT_NE(content("out"), "");
  const std::string said = content("err");
  EXPECT_NE(said.find("Permission denied: it counts calls by itself\n"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(as_another({"open@/etc/hostname:error=EIO", "openat@/etc/hostname:error=EIO"}), 1);
}

TEST_F(ShimPreloadTest, EveryRowIsReached) {
  for (std::size_t i = 0; i < kRowCount; ++i) {
    Row row = static_cast<Row>(i);
    expect_reached("symbol", row_info(row).name, row);
    expect_reached("number", row_info(row).name, row);
  }
}

TEST_F(ShimPreloadTest, EveryAliasIsReached) {
  for (const AliasInfo& alias : aliases()) expect_reached("symbol", alias.name, alias.row);
}

TEST_F(ShimPreloadTest, TheProgramsOwnStatusAndOutputComeThrough) {
  EXPECT_EQ(run({}, {kProbe, "write", "5"}), 0);
  EXPECT_EQ(content("out"), "xxxxx");
  EXPECT_EQ(content("err"), "");
  EXPECT_EQ(run({}, {"/bin/sh", "-c", "exit 42"}), 42);
  EXPECT_EQ(run({}, {"/bin/sh", "-c", "kill -TERM $$"}), 128 + SIGTERM);
}

TEST_F(ShimPreloadTest, RulesAct) {
  EXPECT_EQ(run({"write@*/out:error=ENOSPC"}, {kProbe, "write", "5"}), ENOSPC);
  EXPECT_EQ(content("out"), "");
  EXPECT_EQ(run({"write@*/out:kill=mid"}, {kProbe, "write", "10"}), 128 + SIGKILL);
  EXPECT_EQ(content("out"), "xxxxx");
}

TEST_F(ShimPreloadTest, CountersSpanTheTreeAcrossForkVforkExecAndSpawn) {
  EXPECT_EQ(run({"write@*/out:when=3:error=EIO"}, {kProbe, "tree"}), 0);
  EXPECT_EQ(content("out"), "xxxx");
  EXPECT_EQ(run({"write@*/out:when=5:error=EIO"}, {kProbe, "tree"}), EIO);
}

TEST_F(ShimPreloadTest, CoreutilsBehave) {
  put("source", std::string(100'000, 's'));
  EXPECT_EQ(run({}, {"cp", path("source"), path("copy")}), 0);
  EXPECT_EQ(content("copy"), content("source"));
  EXPECT_EQ(run({}, {"mv", path("copy"), path("moved")}), 0);
  EXPECT_EQ(content("moved"), content("source"));
  EXPECT_EQ(run({}, {"dd", "if=" + path("source"), "of=" + path("dd"), "bs=4096", "conv=fsync"}),
            0);
  EXPECT_EQ(content("dd"), content("source"));
  EXPECT_EQ(run({}, {"cp", "-a", path("source"), path("copy-a")}), 0);
  EXPECT_EQ(run({}, {"tar", "-C", directory_, "-cf", path("tar"), "source"}), 0);
  EXPECT_EQ(run({}, {"sync", path("source")}), 0);
  EXPECT_EQ(run({}, {"ls", "-l", directory_}), 0);
}

TEST_F(ShimPreloadTest, CoreutilsNoticeInjectedErrors) {
  put("source", std::string(100'000, 's'));
  EXPECT_EQ(run({"write@*/dd:when=3:error=ENOSPC"},
                {"dd", "if=" + path("source"), "of=" + path("dd"), "bs=4096"}),
            1);
  EXPECT_NE(content("err").find("No space left"), std::string::npos) << content("err");
  EXPECT_EQ(content("dd").size(), 2 * 4096u);
  EXPECT_EQ(run({"fsync:error=EIO"}, {"sync", path("source")}), 1);
  EXPECT_EQ(run({"%name@*/moved:error=EROFS"}, {"mv", path("source"), path("moved")}), 1);
  // cp clones, then copies in the kernel, then by read and write: each failure but the last is made
  // good.
  EXPECT_EQ(run({"ioctl:error=EOPNOTSUPP", "copy_file_range:error=EXDEV"},
                {"cp", path("source"), path("copy")}),
            0);
  EXPECT_EQ(content("copy"), content("source"));
  EXPECT_EQ(run({"ioctl:error=EOPNOTSUPP", "copy_file_range:error=EXDEV", "write@*/copy:error=EIO"},
                {"cp", path("source"), path("copy")}),
            1);
}

TEST_F(ShimPreloadTest, BadRulesAreRefusedBeforeAnythingRuns) {
  std::vector<std::string> rules = {"write:kill", "wrte:kill"};
  auto ran = run_under_shim(rules, {"true"}, kShim);
  ASSERT_FALSE(ran.has_value());
  EXPECT_EQ(ran.error().exit_status, 2);
  EXPECT_EQ(ran.error().message, "rule \"wrte:kill\", byte 0: no such call: \"wrte\"");
}

TEST_F(ShimPreloadTest, AMissingProgramIsSaidInOneLine) {
  auto ran = run_under_shim({}, {"no-such-program"}, kShim);
  ASSERT_FALSE(ran.has_value());
  EXPECT_EQ(ran.error().exit_status, 127);
  EXPECT_EQ(ran.error().message, "no-such-program: No such file or directory");
  put("plain", "text");
  ran = run_under_shim({}, {path("plain")}, kShim);
  ASSERT_FALSE(ran.has_value());
  EXPECT_EQ(ran.error().exit_status, 126);
}

TEST_F(ShimPreloadTest, AMissingLibraryIsSaid) {
  auto ran = run_under_shim({}, {"true"}, path("no-library.so"));
  ASSERT_FALSE(ran.has_value());
  EXPECT_EQ(ran.error().exit_status, 4);
}

TEST_F(ShimPreloadTest, BadRulesInTheEnvironmentEndTheProgram) {
  std::string command = "CRASHGATE_RULES=wrte:kill LD_PRELOAD='" + kShim + "' '" + kProbe +
                        "' write 1 2>'" + path("err") + "' >'" + path("out") + "'";
  EXPECT_EQ(WEXITSTATUS(system(command.c_str())), 2);
  EXPECT_EQ(content("out"), "");
  EXPECT_EQ(content("err"), "crashgate shim: CRASHGATE_RULES, byte 0: no such call: \"wrte\"\n");
}

TEST_F(ShimPreloadTest, NothingIsLeftBehind) {
  EXPECT_EQ(run({"write@*/out:kill"}, {kProbe, "write", "1"}), 128 + SIGKILL);
  ASSERT_FALSE(run_under_shim({}, {"no-such-program"}, kShim).has_value());
  for (const auto& entry : fs::directory_iterator(directory_)) {
    EXPECT_EQ(entry.path().filename().string().find("crashgate-shim"), std::string::npos);
  }
}

TEST_F(ShimPreloadTest, SignalsSentToTheCallerReachTheProgramAndNothingIsLeftBehind) {
  for (int number : {SIGTERM, SIGINT, SIGHUP}) {
    std::string ready = path("ready");
    ASSERT_EQ(mkfifo(ready.c_str(), 0600), 0);
    pid_t caller = fork();
    if (caller == 0) {
      signal(number, SIG_DFL);
      std::vector<std::string> program = {"/bin/sh", "-c", "echo >\"$0\"; exec sleep 60", ready};
      auto ran = run_under_shim({}, program, kShim);
      _exit(ran ? ran->exit_status : 99);
    }
    std::string line;
    std::getline(std::ifstream(ready), line);
    kill(caller, number);
    int status = 0;
    waitpid(caller, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 128 + number);
    unlink(ready.c_str());
    EXPECT_TRUE(fs::is_empty(directory_)) << number;
  }
}

TEST_F(ShimPreloadTest, AnExistingPreloadIsKept) {
  setenv("LD_PRELOAD", kShim.c_str(), 1);
  int status = run({}, {"/bin/sh", "-c", "echo $LD_PRELOAD"});
  unsetenv("LD_PRELOAD");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(content("out"), kShim + ":" + kShim + "\n");
}

TEST_F(ShimPreloadTest, ASurvivedKillIsReported) {
  if (geteuid() != 0) GTEST_SKIP() << "a process-id namespace needs root";
  auto plain = run_under_shim({}, {"unshare", "--pid", "--fork", "true"}, kShim);
  if (!plain || plain->exit_status != 0) GTEST_SKIP() << "unshare --pid is not permitted";
  EXPECT_FALSE(plain->kill_survived);
  std::vector<std::string> rules = {"fsync:kill"};
  auto ran = run_under_shim(rules, {"unshare", "--pid", "--fork", kProbe, "fsyncs"}, kShim);
  ASSERT_TRUE(ran.has_value());
  EXPECT_EQ(ran->exit_status, 125);
  EXPECT_TRUE(ran->kill_survived);
}

TEST_F(ShimPreloadTest, FiuRunDrivesTheFailurePoints) {
  std::ofstream(path("script"))
      << "fiu-run -f '' -c 'enable name=posix/io/sync/syncfs,failinfo=28' "
      << "env LD_PRELOAD=/usr/lib/fiu/fiu_run_preload.so:" << kShim << " " << kProbe
      << " number syncfs\n";
  EXPECT_EQ(WEXITSTATUS(system(("sh '" + path("script") + "'").c_str())), ENOSPC);
}

TEST_F(ShimPreloadTest, TheEnvironmentOfFiuRunIsObeyedWithoutItsLibrary) {
  setenv("FIU_ENABLE", "\n\t enable name=posix/io/sync/*,failinfo=28\n", 1);
  int status = run({}, {kProbe, "number", "syncfs"});
  unsetenv("FIU_ENABLE");
  EXPECT_EQ(status, ENOSPC);
}

/// Lets the real fiu-ctrl enable a point in whatever process has a named pipe of that prefix, again
/// and again until `done`: the first may reach a program that is about to become another by exec.
void control(const std::string& prefix, const std::atomic<bool>& done) {
  while (!done) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fs::path(prefix).parent_path(), error)) {
      std::string name = entry.path().string();
      if (!name.starts_with(prefix + "-") || !name.ends_with(".in")) continue;
      std::string pid = name.substr(prefix.size() + 1, name.size() - prefix.size() - 4);
      std::string command = "timeout 2 fiu-ctrl -f '" + prefix +
                            "' -c 'enable name=posix/io/sync/fsync,failinfo=122' " + pid +
                            " 2>/dev/null";
      [[maybe_unused]] int status = system(command.c_str());
    }
    std::this_thread::yield();
  }
}

TEST_F(ShimPreloadTest, FiuCtrlEnablesPointsAtRunTime) {
  std::string prefix = path("ctrl");
  setenv("FIU_CTRL_FIFO", prefix.c_str(), 1);
  std::atomic<bool> done = false;
  std::thread controller([&] { control(prefix, done); });
  auto ran = run_under_shim({}, {kProbe, "fsyncs"}, kShim);
  done = true;
  controller.join();
  unsetenv("FIU_CTRL_FIFO");
  ASSERT_TRUE(ran.has_value());
  EXPECT_EQ(ran->exit_status, EDQUOT);
}

TEST_F(ShimPreloadTest, FiuCtrlEnablesPointsUnderFiuRunToo) {
  std::string prefix = path("ctrl");
  std::ofstream(path("script")) << "fiu-run -f " << prefix
                                << " env LD_PRELOAD=/usr/lib/fiu/fiu_run_preload.so:" << kShim
                                << " " << kProbe << " fsyncs\n";
  std::atomic<bool> done = false;
  std::thread controller([&] { control(prefix, done); });
  int status = system(("sh '" + path("script") + "'").c_str());
  done = true;
  controller.join();
  EXPECT_EQ(WEXITSTATUS(status), EDQUOT);
}

TEST(FindShimLibraryTest, FindsTheBuiltOneAndObeysTheEnvironment) {
  unsetenv("CRASHGATE_SHIM");
  auto found = find_shim_library();
  ASSERT_TRUE(found.has_value()) << found.error().message;
  EXPECT_TRUE(fs::equivalent(*found, kShim));
  setenv("CRASHGATE_SHIM", "/no/such/library", 1);
  EXPECT_FALSE(find_shim_library().has_value());
  setenv("CRASHGATE_SHIM", kShim.c_str(), 1);
  EXPECT_EQ(find_shim_library().value_or(""), fs::canonical(kShim).string());
  unsetenv("CRASHGATE_SHIM");
}

}  // namespace
}  // namespace crashgate::faultinject
