#include "harness/check/checker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

using namespace std::chrono_literals;

class CheckerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = ScratchDirectory::create();
    ASSERT_TRUE(made) << to_string(made.error());
    scratch_.emplace(std::move(*made));
    directory_ = scratch_->path() + "/state";
    stdout_file_ = scratch_->path() + "/stdout";
    ASSERT_EQ(::mkdir(directory_.c_str(), 0700), 0);
    std::ofstream(stdout_file_) << "acknowledged\n";
  }

  Checker checker(const std::string& command, bool loop = false,
                  std::chrono::milliseconds timeout = 10s) {
    auto created = Checker::create({.command = command, .loop = loop, .timeout = timeout});
    EXPECT_TRUE(created) << to_string(created.error());
    return std::move(*created);
  }
  CheckerAnswer check(Checker& checker) { return checker.check(directory_, stdout_file_); }
  CheckerAnswer check(const std::string& command, std::chrono::milliseconds timeout = 10s) {
    auto made = checker(command, false, timeout);
    return check(made);
  }
  // A program of its own, in the scratch directory.
  std::string script(const std::string& text) {
    const auto path = scratch_->path() + "/script" + std::to_string(scripts_++);
    std::ofstream(path) << text;
    EXPECT_EQ(::chmod(path.c_str(), 0700), 0);
    return path;
  }
  std::string content_of(const std::string& name) {
    std::ifstream file(scratch_->path() + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  // Whether the process whose id the file holds is dead, and reaped.
  bool is_dead(const std::string& name) {
    const auto text = content_of(name);
    if (text.empty()) return false;
    return ::kill(std::stoi(text), 0) != 0 && errno == ESRCH;
  }

  std::optional<ScratchDirectory> scratch_;
  std::string directory_;
  std::string stdout_file_;
  int scripts_ = 0;
};

TEST_F(CheckerTest, AcceptsWithExitStatusZero) {
  const auto answer = check("echo fine; echo careful >&2");
  EXPECT_EQ(answer.answer, Answer::kAccepted);
  EXPECT_EQ(answer.reason, "");
  EXPECT_EQ(answer.output, "fine\ncareful\n");
}

TEST_F(CheckerTest, RejectsForTheLastLineOfStandardError) {
  const auto answer = check("echo one >&2; echo the reason >&2; echo >&2; echo ' ' >&2; exit 3");
  EXPECT_EQ(answer.answer, Answer::kRejected);
  EXPECT_EQ(answer.reason, "the reason");
  EXPECT_EQ(check("exit 3").reason, "exit status 3");
  EXPECT_EQ(check("echo on standard output; exit 1").reason, "exit status 1");
}

TEST_F(CheckerTest, NamesTheSignalThatKilledIt) {
  for (const auto& [command, reason] :
       std::vector<std::pair<std::string, std::string>>{{"kill -SEGV $$", "killed by SIGSEGV"},
                                                        {"kill -9 $$", "killed by SIGKILL"},
                                                        {"kill -ABRT $$", "killed by SIGABRT"}}) {
    const auto answer = check(command);
    EXPECT_EQ(answer.answer, Answer::kRejected);
    EXPECT_EQ(answer.reason, reason);
  }
}

TEST_F(CheckerTest, RunsInTheStatesDirectoryWithItsVariables) {
  const auto answer = check("pwd; echo $CRASHGATE_DIR; cat $CRASHGATE_STDOUT");
  EXPECT_EQ(answer.output, directory_ + "\n" + directory_ + "\nacknowledged\n");
  EXPECT_EQ(check("/bin/pwd").output, directory_ + "\n");
  EXPECT_EQ(check("printenv CRASHGATE_STDOUT").output, stdout_file_ + "\n");
}

TEST_F(CheckerTest, HasNoStandardInputAndNoOtherDescriptors) {
  const int leak = ::open("/dev/null", O_RDONLY);
  EXPECT_EQ(check("cat").answer, Answer::kAccepted);
  // That of ls itself is 3.
  EXPECT_EQ(check("ls /proc/self/fd").output, "0\n1\n2\n3\n");
  ::close(leak);
}

TEST_F(CheckerTest, SignalsHaveTheirDefaultsAgain) {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  sigset_t old;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &blocked, &old);
  EXPECT_EQ(check("kill -PIPE $$").reason, "killed by SIGPIPE");
  EXPECT_EQ(check("kill -USR1 $$").reason, "killed by SIGUSR1");
  ::sigprocmask(SIG_SETMASK, &old, nullptr);
  ::signal(SIGPIPE, before);
}

TEST_F(CheckerTest, GivesUpOnOneThatHangs) {
  const auto answer = check("echo before; sleep 1000", 200ms);
  EXPECT_EQ(answer.answer, Answer::kHung);
  EXPECT_EQ(answer.reason, "no answer within 0.2 s");
  EXPECT_EQ(answer.output, "before\n");
}

TEST_F(CheckerTest, KillsAllThatAHangingCheckerStarted) {
  const auto answer = check(
      "(trap '' TERM INT HUP; sh -c 'echo $$ > ../pid; exec "
      "sleep 1000') & wait",
      1s);
  EXPECT_EQ(answer.answer, Answer::kHung);
  EXPECT_TRUE(is_dead("pid"));
}

TEST_F(CheckerTest, KillsWhatItLeavesBehindAndDoesNotWaitForItsOutput) {
  // In the background, in a session of its own, and detached twice.
  const auto detached = script(
      "#!/bin/sh\n"
      "sh -c 'echo $$ > ../pid1; exec sleep 1000' &\n"
      "setsid sh -c 'echo $$ > ../pid2; exec sleep 1000' &\n"
      "(setsid sh -c '(sh -c \"echo \\$\\$ > ../pid3; exec sleep 1000\" &) ; exit 0' &)\n"
      "while ! [ -s ../pid1 -a -s ../pid2 -a -s ../pid3 ]; do :; done\n"
      "echo done\n");
  const auto answer = check(detached);
  EXPECT_EQ(answer.answer, Answer::kAccepted) << answer.reason;
  EXPECT_EQ(answer.output, "done\n");
  EXPECT_TRUE(is_dead("pid1"));
  EXPECT_TRUE(is_dead("pid2"));
  EXPECT_TRUE(is_dead("pid3"));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // and nothing is left for us to reap
}

TEST_F(CheckerTest, LeavesOtherChildrenAlone) {
  const pid_t other = ::fork();
  if (other == 0) {
    ::pause();
    ::_exit(0);
  }
  EXPECT_EQ(check("sleep 1000 & exit 0").answer, Answer::kAccepted);
  EXPECT_EQ(::waitpid(other, nullptr, WNOHANG), 0);
  ::kill(other, SIGKILL);
  EXPECT_EQ(::waitpid(other, nullptr, 0), other);
}

TEST_F(CheckerTest, IsBrokenWhereTheCommandIsMissing) {
  for (const std::string command :
       {"/no/such/checker", "no-such-checker", "no-such-checker 'quoted'", "./no-such-checker"}) {
    const auto answer = check(command);
    EXPECT_EQ(answer.answer, Answer::kBroken) << command;
    EXPECT_TRUE(answer.reason.ends_with("No such file or directory") ||
                answer.reason.ends_with("not found"))
        << answer.reason;
  }
  const auto not_executable = scratch_->path() + "/plain";
  std::ofstream(not_executable) << "text";
  EXPECT_EQ(check(not_executable).answer, Answer::kBroken);
  EXPECT_EQ(check(not_executable).reason, "cannot run " + not_executable + ": Permission denied");
}

TEST_F(CheckerTest, IsBrokenWhereTheDirectoryIsMissing) {
  auto made = checker("true");
  const auto answer = made.check(directory_ + "/absent", stdout_file_);
  EXPECT_EQ(answer.answer, Answer::kBroken);
  EXPECT_NE(answer.reason.find("chdir"), std::string::npos) << answer.reason;
}

TEST_F(CheckerTest, RunsAScriptWithoutAnInterpreterLineAsTheShellDoes) {
  EXPECT_EQ(check(script("echo by the shell\n")).output, "by the shell\n");
}

TEST_F(CheckerTest, KeepsTheEndOfALargeOutput) {
  const auto answer = check("yes | head -c 10000000; echo the end; yes no | head -c 1000000 >&2");
  EXPECT_EQ(answer.answer, Answer::kAccepted);
  EXPECT_EQ(answer.output.size(), 2u * 64 * 1024);
  EXPECT_EQ(answer.output.substr(64 * 1024 - 10, 10), "y\nthe end\n");
}

TEST_F(CheckerTest, OutputOfOneStateIsNotThatOfTheNext) {
  auto made = checker("cat $CRASHGATE_STDOUT; cat $CRASHGATE_STDOUT >&2; exit 1");
  for (int i = 0; i < 3; ++i) {
    const auto answer = check(made);
    EXPECT_EQ(answer.output, "acknowledged\nacknowledged\n");
    EXPECT_EQ(answer.reason, "acknowledged");
  }
}

TEST_F(CheckerTest, NonBlockingOutputIsNotInherited) {
  auto made =
      checker("yes | head -c 300000 || exit 1; python3 -c 'import os; os.set_blocking(1, False)'");
  for (int i = 0; i < 2; ++i) {
    const auto answer = check(made);
    EXPECT_EQ(answer.answer, Answer::kAccepted) << answer.reason;
  }
}

constexpr char kLoop[] =
    "#!/bin/sh\n"
    "tab=$(printf '\\t')\n"
    "while IFS=$tab read -r directory file; do\n"
    "  echo looking >&2\n"
    "  case $(cat $file) in\n"
    "    hang) sleep 1000 & echo $! > ../pid; wait ;;\n"
    "    die) echo cannot go on >&2; exit 7 ;;\n"
    "    kill) kill -9 $$ ;;\n"
    "    twice) printf 'ok\\nok\\n' ;;\n"
    "    long) yes | tr -d '\\n' | head -c 200000 ;;\n"
    "    *) [ -e $directory/good ] && echo ok || echo nothing good in $directory ;;\n"
    "  esac\n"
    "done\n"
    "echo ended > $CRASHGATE_TEST_END\n";

class LoopCheckerTest : public CheckerTest {
 protected:
  CheckerAnswer ask(const std::string& text) {
    std::ofstream(stdout_file_) << text;
    return check(*loop_);
  }
  void SetUp() override {
    CheckerTest::SetUp();
    ::setenv("CRASHGATE_TEST_END", (scratch_->path() + "/end").c_str(), 1);
    std::ofstream(directory_ + "/good") << "";
    loop_.emplace(checker("cd " + directory_ + " && exec " + script(kLoop), true, 2s));
  }
  std::optional<Checker> loop_;
};

TEST_F(LoopCheckerTest, AnswersStateAfterState) {
  for (int i = 0; i < 3; ++i) {
    auto answer = ask("");
    EXPECT_EQ(answer.answer, Answer::kAccepted) << answer.reason;
    ASSERT_EQ(::rename((directory_ + "/good").c_str(), (directory_ + "/bad").c_str()), 0);
    answer = ask("");
    EXPECT_EQ(answer.answer, Answer::kRejected);
    EXPECT_EQ(answer.reason, "nothing good in " + directory_);
    ASSERT_EQ(::rename((directory_ + "/bad").c_str(), (directory_ + "/good").c_str()), 0);
  }
  EXPECT_EQ(content_of("end"), "");
  loop_.reset();
  EXPECT_EQ(content_of("end"), "ended\n");
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(LoopCheckerTest, StartsAnotherAfterAHang) {
  loop_.emplace(checker("cd " + directory_ + " && exec " + script(kLoop), true, 200ms));
  EXPECT_EQ(ask("hang").answer, Answer::kHung);
  EXPECT_TRUE(is_dead("pid"));
  EXPECT_EQ(ask("").answer, Answer::kAccepted);
}

TEST_F(LoopCheckerTest, IsBrokenWhereItEndsAndStartsAnother) {
  const auto died = ask("die");
  EXPECT_EQ(died.answer, Answer::kBroken);
  EXPECT_EQ(died.reason, "cannot go on");
  EXPECT_EQ(ask("").answer, Answer::kAccepted);
  const auto killed = ask("kill");
  EXPECT_EQ(killed.answer, Answer::kBroken);
  EXPECT_EQ(ask("").answer, Answer::kAccepted);
}

TEST_F(LoopCheckerTest, IsBrokenWhereItAnswersNonsense) {
  const auto twice = ask("twice");
  EXPECT_EQ(twice.answer, Answer::kBroken);
  EXPECT_EQ(twice.reason, "the checker answered more than once");
  EXPECT_EQ(ask("long").answer, Answer::kBroken);
  EXPECT_EQ(ask("").answer, Answer::kAccepted);
}

TEST_F(LoopCheckerTest, IsBrokenWhereItNeverRuns) {
  auto missing = checker("/no/such/checker", true);
  EXPECT_EQ(check(missing).answer, Answer::kBroken);
  auto ends = checker("exit 0", true);
  for (int i = 0; i < 2; ++i) {
    const auto answer = check(ends);
    EXPECT_EQ(answer.answer, Answer::kBroken);
    EXPECT_EQ(answer.reason, "the checker ended: exit status 0");
  }
}

TEST(WordsWithoutShell, SplitsWhatTheShellWouldOnlySplit) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words_without_shell("./check --level=2  -v\ta,b:c@d%e+f"),
            (Words{"./check", "--level=2", "-v", "a,b:c@d%e+f"}));
  EXPECT_EQ(words_without_shell(" check "), Words{"check"});
  for (const std::string command :
       {"",        " ",         "a;b",   "a|b",     "a&",    "a && b", "a >b",   "a <b",
        "a $b",    "a `b`",     "a 'b'", "a \"b\"", "a \\b", "a *",    "a ?",    "a [b]",
        "a {b,c}", "a ~",       "~/a",   "a #b",    "!a",    "a\nb",   "a=b c",  "true",
        "exit 1",  "test -e a", ". a",   "cd a",    "if",    "time a", "exec a", "(a)"}) {
    EXPECT_TRUE(words_without_shell(command).empty()) << command;
  }
}

}  // namespace
}  // namespace crashgate::harness
