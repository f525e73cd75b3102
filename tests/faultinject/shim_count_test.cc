// The shim's count against the kernel's: a child under ptrace does a mix of calls between two
// marks; what the tracer saw of the table's calls must be what the page says, row by row.
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/xattr.h>
#include <utime.h>

#include <barrier>
#include <map>
#include <thread>

#include "faultinject/raw_syscall.h"
#include "tests/faultinject/shim_fixture.h"

namespace crashgate::faultinject {
namespace {

constexpr long kBegin = 0x5eed0001;  // arguments of getpriority that mark the traced stretch
constexpr long kEnd = 0x5eed0002;

void mark(long which) {
  raw_syscall(SYS_getpriority, {which});
}

/// Calls that the table has for other arguments only; stated here anew, by the kernel's headers
/// alone.
bool is_no_storage(const user_regs_struct& registers) {
  switch (registers.orig_rax) {
    case SYS_mmap:
      return (registers.r10 & MAP_ANONYMOUS) != 0;
    case SYS_ioctl:
      return registers.rsi != FICLONE && registers.rsi != FICLONERANGE &&
             registers.rsi != FIDEDUPERANGE;
    case SYS_fcntl:
      return registers.rsi == F_GETFL || registers.rsi == F_GETFD;
    default:
      return false;
  }
}

/// System calls between the marks, by number, over all threads of the traced child.
std::map<long, std::uint64_t> trace(pid_t child) {
  std::map<long, std::uint64_t> seen;
  bool counting = false;
  int status = 0;
  waitpid(child, &status, 0);
  ptrace(PTRACE_SETOPTIONS, child, nullptr,
         PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
  ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
  while (true) {
    pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) break;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread == child) break;
      continue;
    }
    int number = WSTOPSIG(status);
    bool is_syscall = number == (SIGTRAP | 0x80);
    if (is_syscall) {
      user_regs_struct registers;
      ptrace(PTRACE_GETREGS, thread, nullptr, &registers);
      bool entry = static_cast<long>(registers.rax) == -ENOSYS;
      if (entry && registers.orig_rax == SYS_getpriority) {
        if (registers.rdi == kBegin) counting = true;
        if (registers.rdi == kEnd) counting = false;
      } else if (entry && counting && !is_no_storage(registers)) {
        ++seen[static_cast<long>(registers.orig_rax)];
      }
    }
    bool deliver = !is_syscall && number != SIGTRAP && number != SIGSTOP;
    ptrace(PTRACE_SYSCALL, thread, nullptr, deliver ? number : 0);
  }
  return seen;
}

class ShimCountTest : public ShimFixture {
 protected:
  void begin_counting() {
    arm({}, page_, 0, false);
    mark(kBegin);
  }
  static void end_counting() {
    mark(kEnd);
    disarm();
  }

  /// `mix` begins and ends the counting, in a child.
  void expect_equal_counts(const std::function<void()>& mix) {
    pid_t child = fork();
    if (child == 0) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
      mix();
      _exit(0);
    }
    auto seen = trace(child);
    std::uint64_t total = 0;
    std::uint64_t looks = 0;  // of the shim itself, at what a barrier is asked for
    for (std::size_t i = 0; i < kRowCount; ++i) {
      const RowInfo& row = row_info(static_cast<Row>(i));
      if (row.kind == Kind::kBarrier && find_role(row, Role::kDescriptor) < kMaxArguments)
        looks += page_->row_calls[i];
      total += page_->row_calls[i];
    }
    seen[SYS_fstat] -= looks;
    for (std::size_t i = 0; i < kRowCount; ++i) {
      const RowInfo& row = row_info(static_cast<Row>(i));
      EXPECT_EQ(page_->row_calls[i], seen[row.number]) << row.name;
    }
    EXPECT_GT(total, 0u);
    EXPECT_EQ(page_->record_count, total);
  }
};

TEST_F(ShimCountTest, EqualsPtracesForAMixOfCalls) {
  expect_equal_counts([&] {
    begin_counting();
    char buffer[64];
    iovec vector[] = {{buffer, 8}, {buffer + 8, 8}};
    struct stat status;
    mkdir(path("d").c_str(), 0700);
    int directory = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(directory, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    (void)!write(fd, "0123456789abcdef", 16);
    (void)!pwrite(fd, "xy", 2, 3);
    (void)!writev(fd, vector, 2);
    (void)!pwritev(fd, vector, 2, 40);
    (void)!pwritev2(fd, vector, 2, 60, RWF_DSYNC);
    (void)!pread(fd, buffer, 16, 0);
    (void)!preadv2(fd, vector, 2, 0, 0);
    lseek(fd, 0, SEEK_SET);
    (void)!read(fd, buffer, 16);
    (void)!readv(fd, vector, 2);
    (void)!ftruncate(fd, 30);
    fallocate(fd, 0, 0, 8192);
    posix_fallocate(fd, 0, 4096);
    fsync(fd);
    fdatasync(fd);
    syncfs(fd);
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    int copy = creat(path("copy").c_str(), 0600);
    (void)!copy_file_range(fd, nullptr, copy, nullptr, 10, 0);
    off_t offset = 0;
    (void)!sendfile(copy, fd, &offset, 5);
    ioctl(copy, FICLONE, fd);
    int available = 0;
    ioctl(fd, FIONREAD, &available);
    void* mapping = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* anonymous = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    msync(mapping, 4096, MS_SYNC);
    munmap(mapping, 4096);
    munmap(anonymous, 4096);
    (void)!link(path("f").c_str(), path("g").c_str());
    linkat(directory, "f", directory, "h", 0);
    (void)!symlink("f", path("s").c_str());
    (void)!readlink(path("s").c_str(), buffer, sizeof buffer);
    rename(path("g").c_str(), path("i").c_str());
    renameat(directory, "i", directory, "j");
    renameat2(directory, "j", directory, "k", RENAME_NOREPLACE);
    unlink(path("k").c_str());
    unlinkat(directory, "h", 0);
    remove(path("s").c_str());
    remove(path("d").c_str());
    mkdirat(directory, "e", 0700);
    rmdir(path("e").c_str());
    mkfifo(path("fifo").c_str(), 0600);
    stat(path("f").c_str(), &status);
    lstat(path("f").c_str(), &status);
    fstat(fd, &status);
    fstatat(directory, "f", &status, 0);
    access(path("f").c_str(), R_OK);
    faccessat(directory, "f", R_OK, 0);
    faccessat(directory, "f", R_OK, AT_EACCESS);
    chmod(path("f").c_str(), 0640);
    fchmod(fd, 0600);
    fchmodat(directory, "f", 0644, 0);
    fchmodat(directory, "f", 0644, AT_SYMLINK_NOFOLLOW);
    (void)!chown(path("f").c_str(), geteuid(), getegid());
    utime(path("f").c_str(), nullptr);
    utimes(path("f").c_str(), nullptr);
    lutimes(path("f").c_str(), nullptr);
    futimens(fd, nullptr);
    setxattr(path("f").c_str(), "user.a", "1", 1, 0);
    fgetxattr(fd, "user.a", buffer, sizeof buffer);
    flock(fd, LOCK_EX);
    (void)!lockf(fd, F_TLOCK, 0);
    fcntl(fd, F_SETFL, O_APPEND);
    fcntl(fd, F_GETFL);
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    dup2(fd, other);
    close(dup(other));
    close_range(static_cast<unsigned>(other), static_cast<unsigned>(other), 0);
    syscall(SYS_fsync, fd);
    syscall(SYS_openat2, directory, "f", nullptr, 0);
    syscall(SYS_renameat2, directory, "f", directory, "f2", 0);
    syscall(SYS_getpid);
    std::filesystem::remove_all(directory_ + "/nothing");
    std::filesystem::rename(path("f2"), path("f3"));
    std::filesystem::resize_file(path("f3"), 5);
    close(copy);
    close(fd);
    sync();
    (void)!fchdir(directory);
    (void)!chdir("/");
    close(directory);
    end_counting();
  });
  RowSet used;
  for (std::size_t i = 0; i < kRowCount; ++i) used[i] = page_->row_calls[i] > 0;
  EXPECT_GE(used.count(), 65u);
}

TEST_F(ShimCountTest, EqualsPtracesForThreads) {
  constexpr int kThreads = 4;
  expect_equal_counts([&] {
    int fd = create("file");
    // Births and deaths of threads are not counted: a sanitizer's runtime makes calls of its own.
    std::barrier<> stage(kThreads + 1);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        stage.arrive_and_wait();  // born
        stage.arrive_and_wait();  // counted
        for (int j = 0; j < 50; ++j) {
          (void)!pwrite(fd, "x", 1, j);
          fdatasync(-1);
        }
        stage.arrive_and_wait();  // done
        stage.arrive_and_wait();  // not counted any more
      });
    }
    stage.arrive_and_wait();
    begin_counting();
    stage.arrive_and_wait();
    stage.arrive_and_wait();
    end_counting();
    stage.arrive_and_wait();
    for (std::thread& thread : threads) thread.join();
  });
  EXPECT_EQ(calls(Row::k_pwrite64), 200u);
}

}  // namespace
}  // namespace crashgate::faultinject
