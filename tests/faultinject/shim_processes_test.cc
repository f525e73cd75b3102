// Threads, signal handlers, children of every sort, locks under turns.
#include <fiu-control.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <thread>

#include "faultinject/turns.h"
#include "tests/faultinject/shim_fixture.h"

extern "C" int fiu_init(unsigned int flags);

namespace crashgate::faultinject {
namespace {

using ShimProcessesTest = ShimFixture;

TEST_F(ShimProcessesTest, ThreadsAreCountedExactly) {
  constexpr int kThreads = 8, kWrites = 2000;
  int fd = create("file");
  arm_with("write:when=1..+10:error=EIO");
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kWrites; ++j) {
        if (write(fd, "x", 1) < 0 && errno == EIO) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  disarm();
  EXPECT_EQ(calls(Row::k_write), std::uint64_t{kThreads * kWrites});
  EXPECT_EQ(failed, kThreads * kWrites / 10);
  close(fd);
}

int handler_fd = -1;
volatile sig_atomic_t handled = 0;

TEST_F(ShimProcessesTest, SignalHandlersMayWrite) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP()
      << "ThreadSanitizer runs handlers only in its own interceptors, which armed calls bypass";
#endif
  handler_fd = create("file");
  struct sigaction action = {}, old = {};
  action.sa_handler = [](int) {
    int saved = errno;
    if (write(handler_fd, "h", 1) == 1) handled = handled + 1;
    errno = saved;
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &old);
  handled = 0;
  int fd = create("other");
  arm_with("write@*/nothing:error=EIO");
  pthread_t target = pthread_self();
  std::atomic<bool> done = false;
  std::thread sender([&] {
    while (!done) {
      pthread_kill(target, SIGUSR1);
      std::this_thread::yield();
    }
  });
  int writes = 0;
  while (handled < 100 || writes < 1000) writes += static_cast<int>(write(fd, "w", 1));
  done = true;
  sender.join();
  disarm();
  EXPECT_EQ(calls(Row::k_write), static_cast<std::uint64_t>(writes + handled));
  sigaction(SIGUSR1, &old, nullptr);
  close(fd);
  close(handler_fd);
}

TEST_F(ShimProcessesTest, VforkedChildrenCountAndLeaveTheParentArmed) {
  arm_with("close:when=2:error=EIO");
  int fd = create("file");
  pid_t pid = vfork();
  if (pid == 0) {
    close(fd);
    _exit(close(fd) == -1 && errno == EIO ? 0 : 1);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(close(fd), 0);
  disarm();
  EXPECT_EQ(calls(Row::k_close), 3u);
}

TEST_F(ShimProcessesTest, AVforkedChildKilledByARuleIsTheOnlyOneToDie) {
  int fd = create("file");
  arm_with("fsync:kill");
  pid_t pid = vfork();
  if (pid == 0) {
    fsync(fd);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  disarm();
  EXPECT_TRUE(killed(status));
  close(fd);
}

TEST_F(ShimProcessesTest, ASurvivedKillIsNotedAndEndsTheProcessAllTheSame) {
  if (geteuid() != 0) GTEST_SKIP() << "a process-id namespace needs root";
  int fd = create("file");
  int status = in_child([&] {
    if (unshare(CLONE_NEWPID) != 0) _exit(77);
    int init = in_child([&] {  // process 1 of the new namespace
      arm_with("fsync:kill");
      fsync(fd);
    });
    _exit(WIFEXITED(init) ? WEXITSTATUS(init) : 1);
  });
  close(fd);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "unshare(CLONE_NEWPID) is not permitted";
  EXPECT_EQ(WEXITSTATUS(status), 125);
  EXPECT_EQ(page_->kills_survived, 1u);
}

/// Two processes under turns, preempted as planned; each body gets its index.
class ShimTurnsTest : public ShimFixture {
 protected:
  std::vector<int> run(const std::function<void(std::uint32_t)>& body) {
    turns_start(page_->turns, 2);
    std::vector<pid_t> pids;
    for (std::uint32_t process = 0; process < 2; ++process) {
      pid_t pid = fork();
      if (pid == 0) {
        alarm(60);
        turns_join(page_->turns, process);
        arm({}, page_, process, true);
        body(process);
        disarm();
        turns_finish(page_->turns, process);
        _exit(0);
      }
      pids.push_back(pid);
    }
    std::vector<int> statuses(2);
    for (int i = 0; i < 2; ++i) {
      int status = 0;
      pid_t pid = wait(&status);
      std::uint32_t process = pid == pids[0] ? 0 : 1;
      statuses[process] = status;
      turns_pass_on_after_death(page_->turns, process);
    }
    return statuses;
  }
  void preempt(std::uint32_t step, std::uint32_t process) {
    page_->turns.preemptions[page_->turns.preemption_count++] = {step, process};
  }
  std::string order() const {
    std::string text;
    for (std::uint64_t i = 0; i < page_->record_count; ++i) {
      text += static_cast<char>('0' + page_->records[i].process);
    }
    return text;
  }
};

TEST_F(ShimTurnsTest, RecordsFollowThePlan) {
  preempt(3, 1);
  preempt(5, 0);
  auto statuses = run([&](std::uint32_t process) {
    int fd = create(std::to_string(process));
    [[maybe_unused]] ssize_t written = write(fd, "x", 1);
    close(fd);
  });
  EXPECT_EQ(statuses, (std::vector<int>{0, 0}));
  EXPECT_EQ(order(), "001011");
}

TEST_F(ShimTurnsTest, BlockingLocksGiveWay) {
  for (bool record_lock : {false, true}) {
    page_->record_count = 0;
    page_->turns.preemption_count = 0;
    preempt(3, 1);  // 0 has the lock and is about to write
    auto statuses = run([&](std::uint32_t) {
      int fd = create("lock");
      struct flock lock = {};
      lock.l_type = F_WRLCK;
      if ((record_lock ? fcntl(fd, F_SETLKW, &lock) : flock(fd, LOCK_EX)) != 0) _exit(1);
      [[maybe_unused]] ssize_t written = write(fd, "x", 1);
      close(fd);
    });
    EXPECT_EQ(statuses, (std::vector<int>{0, 0}));
    EXPECT_EQ(order(), "00110011");
    EXPECT_EQ(page_->turns.deadlocked, 0u);
  }
}

TEST_F(ShimTurnsTest, ADeadlockIsEdeadlk) {
  preempt(3, 1);
  auto statuses = run([&](std::uint32_t process) {
    int own = create(process == 0 ? "a" : "b");
    if (flock(own, LOCK_EX) != 0) _exit(1);
    int other = create(process == 0 ? "b" : "a");
    if (flock(other, LOCK_EX) != 0) {
      close(own);
      _exit(errno == EDEADLK ? 2 : 3);
    }
  });
  EXPECT_EQ(page_->turns.deadlocked, 1u);
  EXPECT_EQ(WEXITSTATUS(statuses[0]) + WEXITSTATUS(statuses[1]), 2);
}

TEST_F(ShimProcessesTest, FailurePointsCanBeEnabledInTheProgram) {
  ASSERT_EQ(fiu_init(0), 0);
  int fd = create("file");
  ASSERT_EQ(fiu_enable("posix/io/sync/fsync", 1, nullptr, 0), 0);
  errno = 0;
  EXPECT_EQ(fsync(fd), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(fiu_disable("posix/io/sync/fsync"), 0);
  EXPECT_EQ(fsync(fd), 0);

  ASSERT_EQ(fiu_enable("posix/io/rw/write", 1, reinterpret_cast<void*>(ENOSPC), FIU_ONETIME), 0);
  EXPECT_EQ(write(fd, "x", 1), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(write(fd, "x", 1), 1);
  fiu_disable("posix/io/rw/write");

  ASSERT_EQ(fiu_enable("posix/io/rw/write/reduce", 1, reinterpret_cast<void*>(3), 0), 0);
  EXPECT_EQ(write(fd, "abcdefgh", 8), 3);
  fiu_disable("posix/io/rw/write/reduce");
  ASSERT_EQ(fiu_enable("posix/io/dir/*", 1, nullptr, 0), 0);
  EXPECT_EQ(linkat(AT_FDCWD, path("file").c_str(), AT_FDCWD, path("new").c_str(), 0), -1);
  EXPECT_EQ(fiu_disable("posix/io/dir/*"), 0);
  EXPECT_EQ(linkat(AT_FDCWD, path("file").c_str(), AT_FDCWD, path("new").c_str(), 0), 0);
  close(fd);
}

TEST_F(ShimProcessesTest, FailurePointsCanBeIgnored) {
  int fd = create("file");
  int status = in_child([&] {
    fiu_init(0);
    if (fiu_enable("posix/io/sync/fsync", 1, nullptr, 0) != 0 || fsync(fd) == 0) _exit(1);
    ignore_failure_points();
    _exit(fsync(fd) == 0 ? 0 : 2);
  });
  EXPECT_EQ(status, 0);
  close(fd);
}

}  // namespace
}  // namespace crashgate::faultinject
