// The linked-in recorder: what forked children do is in the trace, in order, resolved, with their
// data, and explains the tree that they leave.
#include "faultinject/recording_session.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "faultinject/trace_explanation.h"
#include "tests/faultinject/shim_fixture.h"

namespace crashgate::faultinject {
namespace {

class RecordingSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/dev/shm/session_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    ASSERT_EQ(::mkdir((directory_ + "/tree").c_str(), 0700), 0);
    auto session = RecordingSession::create(std::uint64_t{1} << 30);
    ASSERT_TRUE(session.has_value());
    session_.emplace(std::move(*session));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string tree() const { return directory_ + "/tree"; }
  std::string path(const std::string& name) const { return tree() + "/" + name; }
  void before(const std::string& name, const std::string& content) const {
    std::ofstream(path(name)) << content;
  }

  /// Forks a child that records itself while it runs `body`, in the tree; its process id.
  pid_t start(const std::function<void()>& body, const std::string& rules = "") {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    if (chdir(tree().c_str()) != 0) _exit(1);
    if (!rules.empty()) arm(*parse_rules(rules), nullptr, 0, false);
    start_recording(session_->log());
    body();
    _exit(0);
  }
  static int wait_for(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
  }
  void begin() {
    auto begun = session_->begin(tree());
    ASSERT_TRUE(begun.has_value()) << begun.error().message;
  }
  Trace collect() {
    auto trace = session_->collect();
    EXPECT_TRUE(trace.has_value());
    if (!trace) return {};
    EXPECT_EQ(unexplained_by(*trace), std::vector<std::string>{});
    EXPECT_EQ(trace->blind_spots, std::vector<std::string>{});
    check_stamps(*trace);
    return std::move(*trace);
  }
  Trace record(const std::function<void()>& body, const std::string& rules = "") {
    begin();
    wait_for(start(body, rules));
    return collect();
  }

  /// The wait status of a child that says whether `body` holds where files may have 1 MB at most.
  static int in_child_with_small_files(bool (*body)()) {
    const pid_t pid = fork();
    if (pid != 0) return wait_for(pid);
    const rlimit small{1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &small);
    _exit(body() ? 0 : 1);
  }

  static void check_stamps(const Trace& trace) {
    std::vector<std::uint64_t> stamps;
    for (const auto& event : trace.events) {
      stamps.push_back(event.begin);
      if (event.end == 0) continue;
      EXPECT_LT(event.begin, event.end);
      stamps.push_back(event.end);
    }
    std::ranges::sort(stamps);
    EXPECT_EQ(std::ranges::adjacent_find(stamps), stamps.end());
  }
  static std::vector<Row> rows(const Trace& trace) {
    std::vector<Row> result;
    for (const auto& event : trace.events) result.push_back(event.row);
    return result;
  }

  std::string directory_;
  std::optional<RecordingSession> session_;
};

int make(const char* name, int flags = 0) {
  return ::open(name, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
}

TEST_F(RecordingSessionTest, WhoWaitsForAStoppedProcessGoesOnUnrecorded) {
  begin();
  const pid_t stopped = start([&] {
    const LogLock lock(session_->log());
    raise(SIGSTOP);
  });
  int status = 0;
  ASSERT_EQ(waitpid(stopped, &status, WUNTRACED), stopped);
  ASSERT_TRUE(WIFSTOPPED(status));
  const pid_t waiting = start([&] {
    for (const char* name : {"a", "b", "c"}) make(name);
    kill(stopped, SIGCONT);
  });
  // Were it to wait forever, somebody must end it.
  std::jthread guard([&](const std::stop_token& done) {
    for (int i = 0; i < 3000 && !done.stop_requested(); ++i) usleep(10'000);
    if (!done.stop_requested()) kill(stopped, SIGKILL);
  });
  EXPECT_EQ(wait_for(waiting), 0);
  guard.request_stop();
  EXPECT_EQ(wait_for(stopped), 0);
  EXPECT_TRUE(std::filesystem::exists(path("c")));
  const auto trace = session_->collect();
  ASSERT_TRUE(trace.has_value());
  ASSERT_FALSE(trace->blind_spots.empty());
  EXPECT_NE(trace->blind_spots[0].find("was stopped in the middle of a call"), std::string::npos);
}

// As where SIGKILL comes between the two steps by which a record grows.
TEST_F(RecordingSessionTest, ARecordThatWasGrowingAsItsProcessDiedIsStepped) {
  begin();
  wait_for(start([&] {
    LogLock lock(session_->log());
    RawRecord* record = lock.append("name");
    record->kind = EventKind::kAcknowledgement;
    record->size += 64;
    record->data_size = 64;
    kill(getpid(), SIGKILL);
  }));
  wait_for(start([] { make("a"); }));
  std::vector<std::uint64_t> sizes;
  const RawRecord* record = next_record(session_->log());
  for (; record != nullptr && sizes.size() < 5; record = next_record(session_->log(), record)) {
    sizes.push_back(record->size);
  }
  ASSERT_EQ(sizes.size(), 2u);
  EXPECT_GE(sizes[1], sizeof(RawRecord));
  const Trace trace = collect();
  ASSERT_FALSE(trace.events.empty());
  EXPECT_EQ(trace.events.back().name.name, "a");
}

TEST_F(RecordingSessionTest, ALimitOfFileSizesIsAnError) {
  EXPECT_EQ(in_child_with_small_files([] {
              const auto log = MappedLog::anonymous(std::uint64_t{1} << 30);
              return !log && log.error() == EFBIG;
            }),
            0);
}

TEST_F(RecordingSessionTest, ABadPointerIsTheKernelsToRefuse) {
  begin();
  EXPECT_EQ(wait_for(start([] {
              volatile std::uintptr_t address = 8;  // else the compiler refuses
              const auto* const bad = reinterpret_cast<const char*>(address);
              char* const words[] = {nullptr};
              if (::execve(bad, words, words) != -1 || errno != EFAULT) _exit(1);
              if (::open(bad, O_RDWR) != -1 || errno != EFAULT) _exit(2);
              if (::fexecve(-1, reinterpret_cast<char* const*>(address), words) != -1) _exit(3);
            })),
            0);
}

TEST_F(RecordingSessionTest, ReplacementByRenameIsRecordedWhole) {
  before("object", "old");
  const Trace trace = record([] {
    const int fd = make("temporary", O_EXCL);
    (void)!::write(fd, "new payload", 11);
    ::fsync(fd);
    ::close(fd);
    ::rename("temporary", "object");
    const int directory = ::open(".", O_RDONLY | O_DIRECTORY);
    ::fsync(directory);
  });
  ASSERT_EQ(rows(trace),
            (std::vector{Row::k_open, Row::k_write, Row::k_fsync, Row::k_rename, Row::k_fsync}));
  const auto& events = trace.events;
  EXPECT_TRUE(events[0].created);
  EXPECT_EQ(events[0].name.directory, kRootFile);
  EXPECT_EQ(events[0].name.name, "temporary");
  EXPECT_EQ(events[0].mode, S_IFREG | 0600u);
  EXPECT_EQ(events[1].file, events[0].file);
  EXPECT_EQ(events[1].offset, 0u);
  EXPECT_EQ(trace.data(events[1].data), "new payload");
  EXPECT_EQ(events[2].file, events[0].file);
  EXPECT_EQ(events[3].name.name, "temporary");
  EXPECT_EQ(events[3].name2.name, "object");
  EXPECT_EQ(events[3].file, events[0].file);
  EXPECT_EQ(events[3].replaced, trace.initial.files[0].entries.at("object"));
  EXPECT_EQ(events[4].file, kRootFile);
}

TEST_F(RecordingSessionTest, OffsetsAreThoseOfTheFile) {
  const Trace trace = record([] {
    const int fd = make("a");
    (void)!::write(fd, "12345678", 8);
    (void)!::write(fd, "ab", 2);
    ::lseek(fd, 3, SEEK_SET);
    iovec parts[] = {{const_cast<char*>("X"), 1}, {const_cast<char*>("YZ"), 2}};
    (void)!::writev(fd, parts, 2);
    (void)!::pwrite(fd, "!", 1, 100);
    (void)!::pwritev2(fd, parts, 2, 50, RWF_DSYNC);
    const int appending = ::open("a", O_WRONLY | O_APPEND | O_SYNC);
    (void)!::write(appending, "end", 3);
    (void)!::pwrite(appending, "END", 3, 0);
  });
  std::vector<std::uint64_t> offsets;
  std::vector<WriteSync> syncs;
  for (const auto& event : trace.events) {
    if (row_info(event.row).kind != Kind::kWrite) continue;
    offsets.push_back(event.offset);
    syncs.push_back(event.sync);
  }
  EXPECT_EQ(offsets, (std::vector<std::uint64_t>{0, 8, 3, 100, 50, 101, 104}));
  using enum WriteSync;
  EXPECT_EQ(syncs, (std::vector{kNone, kNone, kNone, kNone, kData, kFile, kFile}));
}

TEST_F(RecordingSessionTest, EveryKindOfCallExplainsItsPartOfTheTree) {
  before("kept", std::string(20000, 'k'));
  before("linked", "l");
  ::link(path("linked").c_str(), path("other name").c_str());
  const Trace trace = record([] {
    ::mkdir("d", 0750);
    ::mkdir("d/e/", 0700);
    ::symlink("../kept", "d/link");
    ::symlink("d/e/target", "dangling");
    ::close(::open("dangling", O_WRONLY | O_CREAT, 0640));  // makes d/e/target
    ::mkfifo("fifo", 0600);
    ::link("kept", "d/kept too");
    ::truncate("d/link", 10000);
    const int fd = ::open("kept", O_RDWR);
    ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000);
    ::posix_fallocate(fd, 0, 12000);
    ::ftruncate(fd, 11000);
    ::fchmod(fd, 0640);
    ::fsetxattr(fd, "user.color", "red", 3, 0);
    ::setxattr("d", "user.size", "large", 5, 0);
    ::removexattr("d", "user.size");
    ::chmod("d/e", 0711);
    const int copy = make("copy");
    off_t from = 5;
    off_t to = 7;
    ::copy_file_range(fd, &from, copy, &to, 6000, 0);
    ::lseek(fd, 9000, SEEK_SET);
    ::sendfile(copy, fd, nullptr, 500);
    ::rename("d/e", "moved");
    ::renameat2(AT_FDCWD, "copy", AT_FDCWD, "moved/target", RENAME_EXCHANGE);
    ::rename("linked", "other name");  // the same file: nothing happens
    ::unlink("linked");
    const int nameless = ::open(".", O_TMPFILE | O_RDWR, 0600);
    (void)!::write(nameless, "n", 1);
    ::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(nameless)).c_str(), AT_FDCWD, "named",
             AT_SYMLINK_FOLLOW);
    ::unlink("gone before it was");
    ::unlinkat(AT_FDCWD, "fifo", 0);
    ::mkdir("short", 0700);
    ::rmdir("short");
    ::close(::open("copy", O_WRONLY | O_TRUNC));
    ::close(::open("moved/target", O_WRONLY | O_TRUNC));
    ::sync();
  });
  EXPECT_EQ(std::ranges::count(rows(trace), Row::k_rename), 1);
  EXPECT_EQ(rows(trace).back(), Row::k_sync);
  for (const auto& event : trace.events) EXPECT_EQ(event.kind, EventKind::kStorage);
}

TEST_F(RecordingSessionTest, WhatIsOutsideTheTreeIsLeftOut) {
  const std::string outside = directory_ + "/outside";
  const Trace trace = record([&] {
    const int fd = ::open(outside.c_str(), O_RDWR | O_CREAT, 0600);
    (void)!::write(fd, "x", 1);
    ::fsync(fd);
    ::rename(outside.c_str(), (outside + "2").c_str());
    ::mkdir((directory_ + "/directory").c_str(), 0700);
  });
  EXPECT_EQ(trace.events.size(), 0u);
}

TEST_F(RecordingSessionTest, WhatMovesInIsNotModelledAndWhatMovesOutIs) {
  before("leaves", "x");
  std::ofstream(directory_ + "/comes") << "content";
  begin();
  wait_for(start([&] {
    ::rename("leaves", (directory_ + "/left").c_str());
    ::rename((directory_ + "/comes").c_str(), "came");
  }));
  auto trace = session_->collect();
  ASSERT_TRUE(trace.has_value());
  ASSERT_EQ(trace->events.size(), 2u);
  EXPECT_EQ(trace->events[0].kind, EventKind::kStorage);
  EXPECT_EQ(trace->events[0].name2.directory, kNoFile);
  EXPECT_EQ(trace->events[1].kind, EventKind::kUnmodelled);
  EXPECT_EQ(trace->events[1].file, trace->final.files[0].entries.at("came"));
}

TEST_F(RecordingSessionTest, InodeNumbersThatComeAgainAreNewFiles) {
  const Trace trace = record([] {
    for (int i = 0; i < 50; ++i) {
      const int fd = make("same name", O_EXCL);
      (void)!::write(fd, "x", 1);
      ::close(fd);
      ::unlink("same name");
    }
    ::close(make("same name"));
  });
  std::vector<FileId> made;
  for (const auto& event : trace.events) {
    if (event.created) made.push_back(event.file);
  }
  EXPECT_EQ(made.size(), 51u);
  EXPECT_EQ(std::ranges::adjacent_find(made), made.end());
}

TEST_F(RecordingSessionTest, FailedBarriersAndShortWritesAreAsTheProgramSawThem) {
  const Trace trace = record(
      [] {
        const int fd = make("a");
        (void)!::write(fd, "0123456789", 10);
        ::fsync(fd);
        ::fsync(fd);
        ::unlink("a");
      },
      "fsync:when=1:error=EIO\nwrite:short=4\nunlink:error=EROFS");
  ASSERT_EQ(rows(trace), (std::vector{Row::k_open, Row::k_write, Row::k_fsync, Row::k_fsync}));
  EXPECT_EQ(trace.data(trace.events[1].data), "0123");
  EXPECT_EQ(trace.events[1].result, 4);
  EXPECT_EQ(trace.events[2].result, -EIO);
  EXPECT_EQ(trace.events[3].result, 0);
}

TEST_F(RecordingSessionTest, AKillEndsTheTraceWhereItStruck) {
  const auto write_twice = [] {
    const int fd = make("a");
    (void)!::write(fd, "0123456789", 10);
    (void)!::write(fd, "abcdefghij", 10);
    ::fsync(fd);
  };
  begin();
  EXPECT_TRUE(WIFSIGNALED(wait_for(start(write_twice, "write:when=2:kill=before"))));
  EXPECT_EQ(rows(collect()), (std::vector{Row::k_open, Row::k_write}));

  ::unlink(path("a").c_str());
  begin();
  EXPECT_TRUE(WIFSIGNALED(wait_for(start(write_twice, "write:when=2:kill=mid"))));
  Trace trace = collect();
  ASSERT_EQ(trace.events.size(), 3u);
  EXPECT_EQ(trace.data(trace.events[2].data), "abcde");
  EXPECT_EQ(trace.events[2].end, 0u);

  ::unlink(path("a").c_str());
  begin();
  EXPECT_TRUE(WIFSIGNALED(wait_for(start(write_twice, "fsync:kill=after"))));
  trace = collect();
  ASSERT_EQ(trace.events.size(), 4u);
  EXPECT_EQ(trace.events[3].end, 0u);
}

TEST_F(RecordingSessionTest, ThreadsThatAppendLeaveNoGap) {
  constexpr int kThreads = 8;
  constexpr int kAppends = 200;
  const Trace trace = record([] {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([i] {
        const int fd = ::open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
        const std::string text(static_cast<std::size_t>(10 + i), static_cast<char>('a' + i));
        for (int n = 0; n < kAppends; ++n) (void)!::write(fd, text.data(), text.size());
      });
    }
    for (auto& thread : threads) thread.join();
  });
  std::uint64_t end = 0;
  std::vector<int> appends(kThreads + 1);
  for (const auto& event : trace.events) {
    if (event.row != Row::k_write) continue;
    EXPECT_EQ(event.offset, end);
    end += event.data.length;
    ASSERT_LT(event.thread, appends.size());
    EXPECT_EQ(event.process, 0u);
    ++appends[event.thread];
  }
  EXPECT_EQ(std::ranges::count(appends, kAppends), kThreads);
}

TEST_F(RecordingSessionTest, ProcessesOfOneRecordingAreToldApart) {
  begin();
  const auto work = [](const char* name) {
    return [name] {
      for (int i = 0; i < 100; ++i) {
        const int fd = make(name);
        (void)!::write(fd, name, 1);
        ::fsync(fd);
        ::close(fd);
        ::unlink(name);
      }
    };
  };
  const pid_t one = start(work("one"));
  const pid_t two = start(work("two"));
  wait_for(one);
  wait_for(two);
  const Trace trace = collect();
  EXPECT_EQ(trace.events.size(), 800u);
  for (const auto& event : trace.events) {
    EXPECT_LE(event.process, 1u);
    EXPECT_EQ(event.thread, event.process);
  }
}

TEST_F(RecordingSessionTest, AVforkedChildIsAProcessOfItsOwn) {
  const Trace trace = record([] {
    const int fd = make("a");
    (void)!::write(fd, "parent", 6);
    const pid_t pid = ::vfork();
    if (pid == 0) {
      (void)!::write(fd, "child", 5);
      ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
    (void)!::write(fd, "again", 5);
  });
  ASSERT_EQ(trace.events.size(), 4u);
  EXPECT_EQ(trace.events[1].process, 0u);
  EXPECT_EQ(trace.events[2].process, 1u);
  EXPECT_EQ(trace.events[3].process, 0u);
  EXPECT_EQ(trace.events[3].thread, 0u);
  EXPECT_EQ(trace.events[3].offset, 11u);
}

/// A child that dies by SIGKILL while it holds the lock.
int die_with_lock(RecordingLog& log, const std::function<pid_t()>& fork_child) {
  const pid_t pid = fork_child();
  if (pid == 0) {
    LogLock lock(log);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

TEST_F(RecordingSessionTest, ADeathWithTheLockHoldsNobodyUp) {
  begin();
  EXPECT_TRUE(WIFSIGNALED(die_with_lock(session_->log(), [] { return fork(); })));
  // Without the list head that the C library registers, as in a child of vfork.
  EXPECT_TRUE(WIFSIGNALED(die_with_lock(session_->log(), [] {
    return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0L));
  })));
  wait_for(start([] { ::mkdir("d", 0700); }));
  EXPECT_EQ(rows(collect()), std::vector{Row::k_mkdir});
}

TEST_F(RecordingSessionTest, WaitersAreWokenByADeath) {
  begin();
  auto* held = static_cast<std::atomic<int>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t holder = fork();
  if (holder == 0) {
    LogLock lock(session_->log());
    *held = 1;
    ::pause();
  }
  while (*held == 0) ::sched_yield();
  const pid_t waiter = start([] { ::mkdir("d", 0700); });
  while ((session_->log().lock & FUTEX_WAITERS) == 0) ::sched_yield();
  ::kill(holder, SIGKILL);
  wait_for(holder);
  EXPECT_EQ(wait_for(waiter), 0);
  munmap(held, 4096);
  EXPECT_EQ(rows(collect()), std::vector{Row::k_mkdir});
}

TEST_F(RecordingSessionTest, ProcessesThatAllCallThemselvesOneAreToldApart) {
  begin();
  const auto in_namespace = [&](const char* name) {
    const auto pid = static_cast<pid_t>(
        ::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, 0L));
    if (pid != 0) return pid;
    start_recording(session_->log());
    for (int i = 0; i < 100; ++i) {
      ::mkdir(path(name).c_str(), 0700);
      ::rmdir(path(name).c_str());
    }
    LogLock lock(session_->log());  // and dies with it
    ::_exit(0);
  };
  const pid_t one = in_namespace("one");
  if (one < 0) GTEST_SKIP() << "no process id namespaces";
  const pid_t two = in_namespace("two");
  wait_for(one);
  wait_for(two);
  const Trace trace = collect();
  ASSERT_EQ(trace.events.size(), 400u);
  for (const auto& event : trace.events) {
    const bool first = event.name.name == trace.events[0].name.name;
    EXPECT_EQ(event.process, first ? 0u : 1u);
  }
}

TEST_F(RecordingSessionTest, SignalHandlersMayWrite) {
  const Trace trace = record([] {
    static int fd;
    fd = make("a", O_APPEND);
    ::signal(SIGALRM, [](int) { (void)!::write(fd, "h", 1); });
    itimerval often = {{0, 50}, {0, 50}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
    for (int i = 0; i < 3000; ++i) (void)!::write(fd, "m", 1);
    often = {};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  });
  std::uint64_t end = 0;
  for (const auto& event : trace.events) {
    if (event.row != Row::k_write) continue;
    EXPECT_EQ(event.offset, end);
    end += event.data.length;
  }
  EXPECT_GE(end, 3000u);
}

TEST_F(RecordingSessionTest, AProcessKilledFromOutsideLeavesATraceThatExplainsItsTree) {
  for (int round = 0; round < 10; ++round) {
    begin();
    const pid_t pid = start([round] {
      const std::string block(1 << 18, static_cast<char>('a' + round));
      const int fd = make("a", O_TRUNC);
      while (true) {
        (void)!::pwrite(fd, block.data(), block.size(), 0);
        ::mkdir("d", 0700);
        ::rename("d", "e");
        ::rmdir("e");
      }
    });
    while (session_->log().stamp < 100u + 37u * static_cast<unsigned>(round)) ::sched_yield();
    ::kill(pid, SIGKILL);
    wait_for(pid);
    collect();
  }
}

TEST_F(RecordingSessionTest, AcknowledgementsStandBetweenTheCalls) {
  const Trace trace = record([this] {
    const int fd = make("a");
    log_acknowledgement(session_->log(), "made a");
    ::fsync(fd);
    (void)!::write(-0x63726173, "synced", 6);
  });
  ASSERT_EQ(trace.events.size(), 4u);
  EXPECT_EQ(trace.events[1].kind, EventKind::kAcknowledgement);
  EXPECT_EQ(trace.data(trace.events[1].data), "made a");
  EXPECT_EQ(trace.events[3].kind, EventKind::kAcknowledgement);
  EXPECT_EQ(trace.data(trace.events[3].data), "synced");
}

TEST_F(RecordingSessionTest, CallsAndAcknowledgementsHaveTheStampOfTheDisk) {
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& stamp = *new (memory) std::atomic<std::uint64_t>(7);
  const Trace trace = record([this, &stamp] {
    start_recording(session_->log(), &stamp);
    const int fd = make("a");
    stamp = 9;
    ::fsync(fd);
    stamp = 12;
    log_acknowledgement(session_->log(), "made a");
  });
  ASSERT_EQ(trace.events.size(), 3u);
  EXPECT_EQ(trace.events[0].disk_stamp, 7u);
  EXPECT_EQ(trace.events[1].disk_stamp, 9u);
  EXPECT_EQ(trace.events[2].disk_stamp, 12u);

  const Trace without = record([] { make("b"); });
  ASSERT_EQ(without.events.size(), 1u);
  EXPECT_EQ(without.events[0].disk_stamp, 0u);
  ::munmap(memory, 4096);
}

TEST_F(RecordingSessionTest, SharedWritableMappingsAreNotModelled) {
  before("mapped", "content");
  begin();
  wait_for(start([] {
    const int fd = ::open("mapped", O_RDWR);
    ::mmap(nullptr, 7, PROT_READ, MAP_SHARED, fd, 0);
    ::mmap(nullptr, 7, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    ::mmap(nullptr, 7, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }));
  auto trace = session_->collect();
  ASSERT_TRUE(trace.has_value());
  ASSERT_EQ(trace->events.size(), 1u);
  EXPECT_EQ(trace->events[0].kind, EventKind::kUnmodelled);
}

TEST_F(RecordingSessionTest, BadPointersAreTheKernelsToRefuse) {
  const Trace trace = record([] {
    volatile std::uintptr_t address = 8;  // not for the compiler to see
    const auto bad = reinterpret_cast<const char*>(address);
    const int fd = make("a");
    EXPECT_EQ(::write(fd, bad, 10), -1);
    EXPECT_EQ(::writev(fd, reinterpret_cast<const iovec*>(bad), 1), -1);
    EXPECT_EQ(::rename(bad, "b"), -1);
    EXPECT_EQ(::rename("a", bad), -1);
    EXPECT_EQ(::open(bad, O_CREAT | O_RDWR, 0600), -1);
    EXPECT_EQ(::symlink(bad, "b"), -1);
    EXPECT_EQ(::fsetxattr(fd, bad, "x", 1, 0), -1);
    EXPECT_EQ(::fsetxattr(fd, "user.x", bad, 1, 0), -1);
    EXPECT_EQ(::truncate(bad, 0), -1);
    if (testing::Test::HasFailure()) ::_exit(1);
  });
  EXPECT_EQ(rows(trace), std::vector{Row::k_open});
}

TEST_F(RecordingSessionTest, ShortRecordingsAreCheap) {
  constexpr int kRounds = 500;
  before("object", "old");
  const auto start_time = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) {
    begin();
    start_recording(session_->log());
    const int fd = ::open(path("temporary").c_str(), O_RDWR | O_CREAT, 0600);
    (void)!::write(fd, "new", 3);
    ::fsync(fd);
    ::rename(path("temporary").c_str(), path("object").c_str());
    stop_recording();
    ::close(fd);
    auto trace = session_->collect();
    ASSERT_TRUE(trace.has_value());
    ASSERT_EQ(trace->events.size(), 4u);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_time;
  std::printf("%.0f recordings a second\n", kRounds / seconds.count());
  EXPECT_LT(seconds.count(), 30);
}

}  // namespace
}  // namespace crashgate::faultinject
