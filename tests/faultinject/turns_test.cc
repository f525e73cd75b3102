#include "faultinject/turns.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace crashgate::faultinject {
namespace {

constexpr unsigned kSecondsUntilHang = 60;

/// Forked processes that take turns and write down, in the shared page, who began each step.
class TurnsTest : public testing::Test {
 protected:
  using Body = std::function<void(std::uint32_t process)>;

  void SetUp() override {
    auto page = MappedPage::anonymous();
    ASSERT_TRUE(page.has_value());
    page_ = page->release();
  }
  void TearDown() override { MappedPage::adopt(page_); }

  Turns& turns() { return page_->turns; }

  void preempt(std::initializer_list<Turns::Preemption> preemptions) {
    for (const auto& preemption : preemptions)
      turns().preemptions[turns().preemption_count++] = preemption;
  }

  /// What a storage call does under turns; its "effect" is the record.
  void step(std::uint32_t process) {
    turns_before_call(turns(), process);
    page_->records[page_->record_count.fetch_add(1)].process = static_cast<std::uint8_t>(process);
  }

  /// Runs the bodies to their ends; a process that does not call turns_finish itself just exits or
  /// dies.
  std::string run(const std::vector<Body>& bodies) {
    turns_start(turns(), static_cast<std::uint32_t>(bodies.size()));
    std::vector<pid_t> pids;
    for (std::uint32_t process = 0; process < bodies.size(); ++process) {
      pid_t pid = fork();
      if (pid == 0) {
        alarm(kSecondsUntilHang);
        turns_join(turns(), process);
        bodies[process](process);
        _exit(0);
      }
      pids.push_back(pid);
    }
    for (std::size_t reaped = 0; reaped < pids.size(); ++reaped) {
      int status = 0;
      pid_t pid = wait(&status);
      auto process = std::find(pids.begin(), pids.end(), pid) - pids.begin();
      EXPECT_FALSE(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
          << "process " << process << " hung";
      turns_pass_on_after_death(turns(), static_cast<std::uint32_t>(process));
    }
    std::string order;
    for (std::uint64_t i = 0; i < page_->record_count; ++i) {
      order += static_cast<char>('0' + page_->records[i].process);
    }
    return order;
  }

  Body steps(int count) {
    return [this, count](std::uint32_t process) {
      for (int i = 0; i < count; ++i) step(process);
      turns_finish(turns(), process);
    };
  }

  /// Takes the lock of a descriptor of its own, as the shim does under turns. False: deadlock.
  bool lock(std::uint32_t process, int fd) {
    step(process);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (!turns_wait_for_lock(turns(), process)) return false;
    }
    return true;
  }

  int open_own(const std::string& path) {
    return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }

  std::string temporary_file() {
    char name[] = "/tmp/turns_test.XXXXXX";
    int fd = mkstemp(name);
    close(fd);
    return name;
  }

  SharedPage* page_ = nullptr;
};

TEST_F(TurnsTest, WithoutPreemptionsProcessesRunOneAfterAnother) {
  EXPECT_EQ(run({steps(3), steps(2), steps(3)}), "00011222");
}

TEST_F(TurnsTest, ThePlanGivesTheOrder) {
  for (int round = 0; round < 20; ++round) {
    page_->record_count = 0;
    turns().preemption_count = 0;
    preempt({{2, 1}, {4, 2}, {5, 0}, {7, 2}});
    // 0 takes its first step and waits at its second; 1 likewise; 2 waits at its first; 0 ends; 1
    // takes its second and waits at its third; 2 ends; 1 ends.
    EXPECT_EQ(run({steps(3), steps(3), steps(3)}), "010012221");
  }
}

TEST_F(TurnsTest, PreemptionByAFinishedProcessIsIgnored) {
  preempt({{2, 1}, {6, 1}});
  EXPECT_EQ(run({steps(4), steps(2)}), "011000");
}

TEST_F(TurnsTest, AProcessThatDiesHoldingTheTurnIsPassedOver) {
  EXPECT_EQ(run({[this](std::uint32_t process) {
                   step(process);
                   raise(SIGKILL);
                 },
                 steps(2)}),
            "011");
}

TEST_F(TurnsTest, AProcessThatDiedWaitingIsPassedOver) {
  preempt({{2, 1}});
  auto dies_at_once = [](std::uint32_t) { raise(SIGKILL); };
  EXPECT_EQ(run({steps(3), dies_at_once, steps(1)}), "0002");
}

TEST_F(TurnsTest, LocksAreWaitedForInTurn) {
  std::string path = temporary_file();
  auto locker = [&](std::uint32_t process) {
    int fd = open_own(path);
    if (!lock(process, fd)) _exit(1);
    step(process);
    flock(fd, LOCK_UN);
    step(process);
    turns_finish(turns(), process);
  };
  preempt({{2, 1}});  // 0 has the lock and is preempted; 1 wants it and has to let 0 go on
  EXPECT_EQ(run({locker, locker}), "010011");
  EXPECT_EQ(turns().deadlocked, 0u);
  unlink(path.c_str());
}

TEST_F(TurnsTest, TheLockOfADeadProcessComesFree) {
  std::string path = temporary_file();
  auto dies_with_lock = [&](std::uint32_t process) {
    if (!lock(process, open_own(path))) _exit(1);
    step(process);
    raise(SIGKILL);
  };
  auto locker = [&](std::uint32_t process) {
    if (!lock(process, open_own(path))) _exit(1);
    step(process);
    turns_finish(turns(), process);
  };
  preempt({{2, 1}});
  EXPECT_EQ(run({dies_with_lock, locker}), "0101");
  EXPECT_EQ(turns().deadlocked, 0u);
  unlink(path.c_str());
}

TEST_F(TurnsTest, ADeadlockIsNoticed) {
  std::string first = temporary_file();
  std::string second = temporary_file();
  auto crosswise = [&](const std::string& one, const std::string& other) {
    return [&](std::uint32_t process) {
      int fd = open_own(one);
      if (!lock(process, fd)) _exit(1);
      if (!lock(process, open_own(other))) flock(fd, LOCK_UN);
      turns_finish(turns(), process);
    };
  };
  preempt({{2, 1}});
  run({crosswise(first, second), crosswise(second, first)});
  EXPECT_EQ(turns().deadlocked, 1u);
  unlink(first.c_str());
  unlink(second.c_str());
}

}  // namespace
}  // namespace crashgate::faultinject
