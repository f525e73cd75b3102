// Runs of plans: the same every time, killed where planned, and nothing left of them, whatever the
// store does.
#include "harness/plan/runner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "faultinject/syscall_table.h"
#include "harness/engine/generator.h"
#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"
#include "store/unique_fd.h"
#include "tests/harness/run_fixture.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;
using faultinject::Action;
using faultinject::Injected;
using std::chrono::milliseconds;

// A store that misbehaves in its put, by itself, without any call that could be disturbed.
template <void (*kMisbehave)(const std::string& root, std::string_view key)>
class Misbehaving : public StoreUnderTest {
 public:
  explicit Misbehaving(std::string root) : root_(std::move(root)) {}
  Result<void> put(std::string_view key, std::string_view) override {
    kMisbehave(root_, key);
    return {};
  }
  Result<void> put_if_absent(std::string_view, std::string_view) override { return {}; }
  Result<std::string> get(std::string_view) override { return std::string(); }
  Result<std::string> get_range(std::string_view, std::uint64_t, std::uint64_t) override {
    return std::string();
  }
  Result<void> remove(std::string_view) override { return {}; }
  Result<bool> exists(std::string_view) override { return false; }
  Result<std::vector<std::string>> list(std::string_view) override {
    return std::vector<std::string>();
  }
  Result<void> recover() override { return {}; }

  static StoreEntry entry() {
    return {.name = "misbehaving",
            .description = "",
            .open = [](const std::string& root) -> Result<std::unique_ptr<StoreUnderTest>> {
              return std::make_unique<Misbehaving>(root);
            }};
  }

 private:
  std::string root_;
};

void crash(const std::string&, std::string_view) {
  ::signal(SIGSEGV, SIG_DFL);  // sanitizers would exit
  ::raise(SIGSEGV);
}
void leave(const std::string&, std::string_view) {
  ::_exit(7);
}
void hang(const std::string&, std::string_view) {
  while (true) ::pause();
}
void go_round(const std::string& root, std::string_view) {
  while (::access(root.c_str(), F_OK) == 0) {
  }
}
void leak(const std::string& root, std::string_view) {
  const UniqueFd below(::open(root.c_str(), O_RDONLY | O_CLOEXEC));  // closed, unlike the next
  ::open(root.c_str(), O_RDONLY | O_CLOEXEC);
}

// Two locks, taken in the order of the key's letters.
void lock_two(const std::string& root, std::string_view key) {
  UniqueFd held[2];
  for (std::size_t i = 0; i < 2; ++i) {
    const auto path = root + "/" + std::string(1, key[i]);
    held[i] = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ::flock(held[i].get(), LOCK_EX);
  }
}

Plan one_put(std::uint64_t size = 5000) {
  Plan plan;
  plan.workers = {{{.kind = Kind::kPut, .key = "d/k", .size = size}}};
  return plan;
}

Plan busy_plan() {
  Plan plan;
  plan.setup = {{.kind = Kind::kPut, .key = "k", .size = 700}};
  plan.workers = {
      {{.kind = Kind::kPut, .key = "k", .size = 5000},
       {.kind = Kind::kRemove, .key = "k"},
       {.kind = Kind::kPutIfAbsent, .key = "l", .size = 20}},
      {{.kind = Kind::kPutIfAbsent, .key = "l", .size = 30},
       {.kind = Kind::kGet, .key = "k"},
       {.kind = Kind::kList}},
      {{.kind = Kind::kPut, .key = "l", .size = 0}, {.kind = Kind::kExists, .key = "k"}}};
  return plan;
}

// All that a run gives and that must not depend on when it was run. Stamps count only by their
// order: the parent, too, takes some, when it learns of an end.
std::string transcript(const History& history) {
  std::set<std::uint64_t> stamps;
  for (const auto& log : history.processes) {
    for (const auto& event : log.events) stamps.insert({event.begin, event.end});
  }
  const auto rank = [&](std::uint64_t stamp) {
    return std::to_string(std::distance(stamps.begin(), stamps.find(stamp)));
  };
  std::string text;
  for (const auto& call : history.calls) {
    text += std::to_string(call.process) + " " +
            faultinject::row_info(static_cast<faultinject::Row>(call.row)).name + " " +
            std::to_string(static_cast<int>(call.injected)) + "\n";
  }
  for (const auto& log : history.processes) {
    text += "process " + std::to_string(log.wait_status) + "\n";
    for (const auto& event : log.events) {
      if (event.outcome == Outcome::kNotBegun) continue;
      text += std::to_string(static_cast<int>(event.outcome)) + " " + rank(event.begin) + ".." +
              rank(event.end) + " " + std::to_string(event.errno_value) + " " +
              std::to_string(event.matches) + " " + std::to_string(event.listed) + " " +
              std::to_string(event.exists) + " " + std::to_string(event.calls) + "\n";
    }
  }
  return text;
}

bool killed(const ProcessState& log) {
  return WIFSIGNALED(log.wait_status) && WTERMSIG(log.wait_status) == SIGKILL;
}
bool ended_well(const ProcessState& log) {
  return WIFEXITED(log.wait_status) && WEXITSTATUS(log.wait_status) == 0;
}

class RunnerTest : public RunFixture {
 protected:
  static History run(Runner& runner, const Plan& plan, const RunOptions& options = {}) {
    auto history = runner.run(plan, options);
    EXPECT_TRUE(history.has_value()) << to_string(history.error());
    return history ? std::move(*history) : History{};
  }

  void expect_the_same_twice(std::string_view store, const Plan& plan) {
    auto runner = runner_for(store);
    const auto first = transcript(run(runner, plan));
    EXPECT_FALSE(first.empty());
    for (int again = 0; again < 3; ++again) {
      ASSERT_EQ(transcript(run(runner, plan)), first) << store;
    }
    auto other = runner_for(store);
    EXPECT_EQ(transcript(run(other, plan)), first) << store;
  }
};

TEST_F(RunnerTest, RunsAnUndisturbedPlan) {
  auto runner = runner_for("local-file");
  const auto history = run(runner, busy_plan());
  EXPECT_TRUE(judge(history).empty());
  EXPECT_EQ(history.kills, 0U);
  EXPECT_EQ(history.lost_calls, 0U);
  EXPECT_FALSE(history.timed_out);
  EXPECT_FALSE(history.deadlocked);
  EXPECT_TRUE(history.leftovers.empty());
  ASSERT_EQ(history.processes.size(), 4U);
  for (const auto& log : history.processes) {
    EXPECT_TRUE(ended_well(log));
    EXPECT_FALSE(log.leaked_descriptor);
  }
  EXPECT_GT(history.calls.size(), 20U);
}

TEST_F(RunnerTest, GivesOnePlanOneOrder) {
  for (const std::string_view store :
       {"local-file", "write-in-place", "fixed-temporary-name-fixed"}) {
    expect_the_same_twice(store, busy_plan());
    auto plan = busy_plan();
    plan.preemptions = {{4, 1}, {9, 2}, {12, 0}, {17, 1}, {30, 0}};
    expect_the_same_twice(store, plan);
    plan.faults = {{0, 1, rule_at(3, 3, Action::kKillMid)},
                   {1, 1, rule_at(2, 2, Action::kError, EIO)}};
    expect_the_same_twice(store, plan);
  }
}

TEST_F(RunnerTest, GivesGeneratedPlansOneOrder) {
  for (const std::string_view store : {"local-file", "loser-told-early-fixed"}) {
    for (std::uint64_t number = 0; number < 30; ++number) {
      expect_the_same_twice(store, generate_plan(21, number, why_no_pid_namespaces().empty()));
      if (HasFatalFailure()) return;
    }
  }
}

// On a file system that lists a directory by a hash of the names, the order of calls depends on
// them.
TEST_F(RunnerTest, GivesTemporariesTheSameNames) {
  for (const std::string_view store : {"local-file", "loser-told-early-fixed"}) {
    auto runner = runner_for(store);
    Plan plan;
    plan.workers = {{{.kind = Kind::kPut, .key = "k", .size = 10}},
                    {{.kind = Kind::kPut, .key = "l", .size = 10}}};
    faultinject::Rule killed_at_rename = rule_at(1, 1, Action::kKillBefore);
    killed_at_rename.calls.reset();
    killed_at_rename.calls.set(static_cast<std::size_t>(faultinject::Row::k_renameat));
    plan.faults = {{0, 1, killed_at_rename}, {1, 1, killed_at_rename}};
    const auto names = [&] {
      std::set<std::string> found;
      RunOptions options;
      options.at_crash = [&](const std::string& root) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
          if (entry.is_regular_file()) found.insert(entry.path().filename());
      };
      EXPECT_EQ(run(runner, plan, options).kills, 2U);
      return found;
    };
    const auto once = names();
    EXPECT_EQ(once.size(), 2U) << store;
    EXPECT_EQ(names(), once) << store;
  }
}

TEST_F(RunnerTest, ChangesTheTurnWhereTold) {
  auto runner = runner_for("local-file");
  auto plan = busy_plan();
  for (const std::uint32_t step : {2U, 5U, 9U}) {
    plan.preemptions = {{step, 1}};
    const auto history = run(runner, plan);
    ASSERT_GT(history.calls.size(), step);
    for (std::uint32_t i = 0; i + 1 < step; ++i) EXPECT_EQ(history.calls[i].process, 0U) << step;
    EXPECT_EQ(history.calls[step - 1].process, 1U) << step;
  }
}

TEST_F(RunnerTest, GivesProcessesTheSameProcessId) {
  if (const auto why = why_no_pid_namespaces(); !why.empty()) GTEST_SKIP() << why;
  for (const std::string_view store : {"local-file", "process-id-temporary-name"}) {
    auto plan = busy_plan();
    plan.same_process_ids = true;
    expect_the_same_twice(store, plan);
    plan.preemptions = {{6, 1}, {14, 0}};
    plan.faults = {{1, 1, rule_at(2, 2, Action::kKillBefore)}};
    expect_the_same_twice(store, plan);
    auto runner = runner_for(store);
    const auto history = run(runner, plan);
    EXPECT_TRUE(killed(history.processes[1]));
    EXPECT_EQ(history.kills, 1U);
    EXPECT_EQ(history.kills_survived, 0U);
  }
}

TEST_F(RunnerTest, KillsBeforeInTheMiddleAndAfterEveryCall) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  const auto undisturbed = run(runner, plan);
  const auto calls = calls_of(undisturbed, 0, 1).size();
  ASSERT_GT(calls, 3U);
  const std::pair<Action, Injected> ways[] = {{Action::kKillBefore, Injected::kKillBefore},
                                              {Action::kKillMid, Injected::kKillMid},
                                              {Action::kKillAfter, Injected::kKillAfter}};
  for (std::uint64_t call = 1; call <= calls; ++call) {
    for (const auto& [action, injected] : ways) {
      plan.faults = {{0, 1, rule_at(call, call, action)}};
      const auto history = run(runner, plan);
      EXPECT_TRUE(killed(history.processes[0])) << call;
      EXPECT_EQ(history.kills, 1U);
      EXPECT_EQ(history.processes[0].events[1].outcome, Outcome::kPending);
      const auto made = calls_of(history, 0, 1);
      ASSERT_EQ(made.size(), call);
      const auto& last = history.calls[made.back()];
      const auto& row = faultinject::row_info(static_cast<faultinject::Row>(last.row));
      // What moves no data has no middle.
      const bool as_planned = last.injected == injected ||
                              (injected == Injected::kKillMid && !faultinject::carries_data(row));
      EXPECT_TRUE(as_planned) << call << " " << row.name << " " << static_cast<int>(last.injected);
      EXPECT_GE(last.injected, Injected::kKillBefore);
      ASSERT_EQ(history.processes.size(), 2U);
      EXPECT_TRUE(ended_well(history.processes[1]));
      EXPECT_TRUE(judge(history).empty()) << call;
    }
  }
}

TEST_F(RunnerTest, KillsWhileTheStoreIsOpened) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  plan.faults = {{0, 0, rule_at(1, 1, Action::kKillAfter)}};
  const auto history = run(runner, plan);
  EXPECT_TRUE(killed(history.processes[0]));
  EXPECT_EQ(history.processes[0].events[0].outcome, Outcome::kPending);
  EXPECT_EQ(history.processes[0].events[1].outcome, Outcome::kNotBegun);
}

TEST_F(RunnerTest, OthersGoOnAfterAKill) {
  auto runner = runner_for("local-file");
  auto plan = busy_plan();
  plan.preemptions = {{6, 1}, {9, 0}};
  plan.faults = {{0, 1, rule_at(5, 5, Action::kKillBefore)}};
  const auto history = run(runner, plan);
  EXPECT_TRUE(killed(history.processes[0]));
  EXPECT_TRUE(ended_well(history.processes[1]));
  EXPECT_TRUE(ended_well(history.processes[2]));
  EXPECT_EQ(history.processes[1].events[3].outcome, Outcome::kOk);
  EXPECT_TRUE(judge(history).empty());
}

TEST_F(RunnerTest, AKilledSurvivorIsFollowedByASecond) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  plan.faults = {{0, 1, rule_at(4, 4, Action::kKillAfter)},
                 {1, 1, rule_at(1, 1, Action::kKillAfter)}};
  const auto history = run(runner, plan);
  ASSERT_EQ(history.processes.size(), 3U);
  EXPECT_TRUE(killed(history.processes[0]));
  EXPECT_TRUE(killed(history.processes[1]));
  EXPECT_TRUE(ended_well(history.processes[2]));
  EXPECT_EQ(history.kills, 2U);
  EXPECT_EQ(history.processes[2].events[1].outcome, Outcome::kOk);
  EXPECT_TRUE(judge(history).empty());
}

TEST_F(RunnerTest, ASurvivorThatThePlanDoesNotReachIsNotFollowed) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  plan.faults = {{1, 1, rule_at(1000, 1000, Action::kKillAfter)}};
  const auto history = run(runner, plan);
  EXPECT_EQ(history.processes.size(), 2U);
  EXPECT_EQ(history.kills, 0U);
}

TEST_F(RunnerTest, InjectsErrorsAndSaysWhere) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  auto rule = rule_at(1, UINT64_MAX, Action::kError, EIO);
  rule.calls = faultinject::rows_of_kind(faultinject::Kind::kBarrier);
  plan.faults = {{0, 1, rule}};
  const auto history = run(runner, plan);
  const auto& event = history.processes[0].events[1];
  EXPECT_EQ(event.outcome, Outcome::kError);
  EXPECT_EQ(event.errno_value, EIO);
  const auto injected = std::ranges::count_if(history.calls, [](const auto& call) {
    return call.injected == Injected::kError && call.injected_errno == EIO && call.inode != 0;
  });
  EXPECT_GE(injected, 1);
}

TEST_F(RunnerTest, ReportsAProcessThatCrashes) {
  const auto store = Misbehaving<crash>::entry();
  auto runner = runner_for(store);
  const auto history = run(runner, one_put());
  ASSERT_TRUE(WIFSIGNALED(history.processes[0].wait_status));
  EXPECT_EQ(WTERMSIG(history.processes[0].wait_status), SIGSEGV);
  EXPECT_EQ(history.kills, 0U);
  const auto violations = judge(history);
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations[0].kind, FindingKind::kErrorContract);
  EXPECT_NE(violations[0].message.find("SEGV"), std::string::npos) << violations[0].message;
}

TEST_F(RunnerTest, ReportsAProcessThatExits) {
  const auto store = Misbehaving<leave>::entry();
  auto runner = runner_for(store);
  const auto violations = judge(run(runner, one_put()));
  ASSERT_FALSE(violations.empty());
  EXPECT_NE(violations[0].message.find("exit status 7"), std::string::npos);
}

TEST_F(RunnerTest, ReportsACrashUnderEqualProcessIds) {
  if (const auto why = why_no_pid_namespaces(); !why.empty()) GTEST_SKIP() << why;
  const auto store = Misbehaving<crash>::entry();
  auto runner = runner_for(store);
  auto plan = one_put();
  plan.same_process_ids = true;
  const auto history = run(runner, plan);
  ASSERT_TRUE(WIFSIGNALED(history.processes[0].wait_status));
  EXPECT_EQ(WTERMSIG(history.processes[0].wait_status), SIGSEGV);
}

TEST_F(RunnerTest, EndsAProcessThatHangs) {
  const auto store = Misbehaving<hang>::entry();
  for (const bool same_process_ids : {false, true}) {
    if (same_process_ids && !why_no_pid_namespaces().empty()) continue;
    auto runner = runner_for(store);
    auto plan = one_put();
    plan.workers.push_back(plan.workers[0]);
    plan.same_process_ids = same_process_ids;
    const auto started = std::chrono::steady_clock::now();
    const auto history = run(runner, plan, {.timeout = milliseconds(200)});
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(8));
    EXPECT_TRUE(history.timed_out);
    const auto violations = judge(history);
    ASSERT_EQ(violations.size(), 1U);
    EXPECT_EQ(violations[0].kind, FindingKind::kHang);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  }
}

// What is foreign may make a store go round for ever; that is known long before the time limit.
TEST_F(RunnerTest, EndsAProcessThatGoesRoundForEver) {
  const auto store = Misbehaving<go_round>::entry();
  auto runner = runner_for(store);
  auto plan = one_put();
  plan.foreign = {{ForeignKind::kSymlinkToRoot, "x"}};
  const auto history = run(runner, plan, {.timeout = std::chrono::hours(1)});
  EXPECT_TRUE(history.timed_out);
  EXPECT_TRUE(history.stuck);
  const auto violations = judge(history);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].kind, FindingKind::kHang);
}

TEST_F(RunnerTest, WorksOnAfterAHang) {
  const auto store = Misbehaving<hang>::entry();
  auto runner = runner_for(store);
  EXPECT_TRUE(run(runner, one_put(), {.timeout = milliseconds(100)}).timed_out);
  Plan harmless;
  harmless.workers = {{{.kind = Kind::kList}}};  // with a key the survivor would put, and hang
  const auto history = run(runner, harmless);
  EXPECT_FALSE(history.timed_out);
  EXPECT_TRUE(ended_well(history.processes[0]));
}

TEST_F(RunnerTest, ReportsADeadlock) {
  const auto store = Misbehaving<lock_two>::entry();
  auto runner = runner_for(store);
  Plan plan;
  plan.workers = {{{.kind = Kind::kPut, .key = "ab"}}, {{.kind = Kind::kPut, .key = "ba"}}};
  EXPECT_FALSE(run(runner, plan).deadlocked);
  plan.preemptions = {{3, 1}};  // when process 0 holds its first lock
  const auto history = run(runner, plan);
  EXPECT_TRUE(history.deadlocked);
  const auto violations = judge(history);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].kind, FindingKind::kHang);
  // The same order of locks: one waits for the other.
  plan.workers[1][0].key = "ab";
  EXPECT_FALSE(run(runner, plan).deadlocked);
}

TEST_F(RunnerTest, NoticesALeakedDescriptor) {
  const auto store = Misbehaving<leak>::entry();
  auto runner = runner_for(store);
  const auto history = run(runner, one_put());
  EXPECT_TRUE(history.processes[0].leaked_descriptor);
}

TEST_F(RunnerTest, LimitsDescriptorsOfWorkersOnly) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  plan.descriptor_limit = 1;
  const auto history = run(runner, plan);
  const auto& events = history.processes[0].events;
  const auto refused = std::ranges::find(events, Outcome::kError, &Event::outcome);
  ASSERT_NE(refused, events.end());
  EXPECT_EQ(refused->errno_value, EMFILE);
  EXPECT_TRUE(ended_well(history.processes[1]));
  EXPECT_TRUE(judge(history).empty());
  plan.descriptor_limit = 100;
  EXPECT_EQ(run(runner, plan).processes[0].events[1].outcome, Outcome::kOk);
}

TEST_F(RunnerTest, RunsOnASmallDisk) {
  if (const auto why = why_no_small_disk(); !why.empty()) GTEST_SKIP() << why;
  auto runner = runner_for("local-file");
  auto plan = one_put(1 << 20);
  plan.workers[0].push_back({.kind = Kind::kPut, .key = "small", .size = 100});
  plan.disk_size = 1 << 19;
  const auto history = run(runner, plan);
  EXPECT_EQ(history.processes[0].events[1].outcome, Outcome::kError);
  EXPECT_EQ(history.processes[0].events[1].errno_value, ENOSPC);
  EXPECT_EQ(history.processes[0].events[2].outcome, Outcome::kOk);
  EXPECT_TRUE(judge(history).empty());
  plan.disk_size = 1 << 23;
  EXPECT_EQ(run(runner, plan).processes[0].events[1].outcome, Outcome::kOk);
}

TEST_F(RunnerTest, ShowsTheRootAsTheCrashLeftItThenRemovesIt) {
  auto runner = runner_for("write-in-place");
  auto plan = one_put();
  std::string seen;
  RunOptions options;
  options.at_crash = [&](const std::string& root) {
    seen = root;
    EXPECT_TRUE(std::filesystem::is_regular_file(root + "/d/k"));
    struct stat info;
    ASSERT_EQ(::stat(root.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
  };
  run(runner, plan, options);
  ASSERT_FALSE(seen.empty());
  EXPECT_FALSE(std::filesystem::exists(seen));
}

TEST_F(RunnerTest, HashesTheTreeWithoutTheNamesOfTemporaries) {
  auto runner = runner_for("local-file");
  auto plan = one_put();
  plan.faults = {{0, 1, rule_at(1000, 1000, Action::kKillBefore)}};
  const auto whole = run(runner, plan, {.hash_crash_tree = true}).crash_tree_hash;
  EXPECT_NE(whole, 0U);
  EXPECT_EQ(run(runner, plan, {.hash_crash_tree = true}).crash_tree_hash, whole);
  plan.workers[0][0].size = 5001;
  EXPECT_NE(run(runner, plan, {.hash_crash_tree = true}).crash_tree_hash, whole);
}

}  // namespace
}  // namespace crashgate::harness
