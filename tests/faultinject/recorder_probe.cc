// Programs to record, in one: recorder_probe MODE runs MODE in the working directory and exits 0,
// or says what went wrong. Linked dynamically and, as recorder_probe_static, statically.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "faultinject/crashgate_ack.h"
#include "tests/faultinject/probe_steps.h"

namespace {

std::string self;  // path of this program

void put(int fd, const std::string& text) {
  CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
void wait_for_all() {
  while (wait(nullptr) > 0 || errno == EINTR) {
  }
}

void writes() {
  const int fd = make("data");
  put(fd, "hello world");
  CHECK(pwrite(fd, "HELLO", 5, 0) == 5);
  iovec parts[] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("cdef"), 4}};
  CHECK(writev(fd, parts, 2) == 6);
  CHECK(pwritev(fd, parts, 2, 100) == 6);
  CHECK(pwritev2(fd, parts, 2, -1, 0) == 6);
  CHECK(pwritev2(fd, parts, 2, 3, RWF_APPEND) == 6);
  CHECK(pwritev2(fd, parts, 2, 200, RWF_DSYNC) == 6);
  CHECK(pwritev2(fd, parts, 2, 300, RWF_SYNC) == 6);
  CHECK(fdatasync(fd) == 0);
  CHECK(fsync(fd) == 0);
  CHECK(lseek(fd, 5, SEEK_SET) == 5);
  put(fd, "after a seek");
  CHECK(write(fd, "", 0) == 0);
  CHECK(close(fd) == 0);
  const int synchronous = make("sync", O_WRONLY | O_SYNC);
  put(synchronous, "one");
  const int data_synchronous = open("sync", O_WRONLY | O_DSYNC);
  put(data_synchronous, "two");
  const int directory = open(".", O_RDONLY | O_DIRECTORY);
  CHECK(fsync(directory) == 0);
  CHECK(syncfs(directory) == 0);
  CHECK(sync_file_range(synchronous, 0, 3, SYNC_FILE_RANGE_WRITE) == 0);
  sync();
}

void appends() {
  const int first = make("log", O_WRONLY | O_APPEND);
  const int second = dup(first);
  put(first, "first\n");
  put(second, "second\n");
  CHECK(pwrite(first, "pwrite appends\n", 15, 0) == 15);  // a documented bug of Linux
  CHECK(fcntl(second, F_SETFL, 0) == 0);
  put(first, "at the position\n");
  CHECK(dup2(first, 200) == 200);
  put(200, "by 200\n");
  const int truncated = open("log", O_WRONLY | O_TRUNC);
  put(truncated, "x");
}

void resizes() {
  const int fd = make("data");
  put(fd, std::string(20000, 'a'));
  CHECK(ftruncate(fd, 15000) == 0);
  CHECK(ftruncate(fd, 30000) == 0);
  CHECK(truncate("data", 25000) == 0);
  CHECK(fallocate(fd, 0, 24000, 16000) == 0);
  CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 50000, 10000) == 0);
  CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 9000) == 0);
  close(open("data", O_RDONLY));
  close(open("empty", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  close(open("empty", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  close(creat("data", 0600));
}

void names() {
  close(make("a"));
  CHECK(open("a", O_WRONLY | O_CREAT | O_EXCL, 0600) < 0 && errno == EEXIST);
  CHECK(mkdir("d", 0755) == 0);
  CHECK(mkdir("d", 0755) < 0);
  CHECK(rename("a", "d/a") == 0);
  CHECK(link("d/a", "d/b") == 0);
  CHECK(rename("d/a", "d/b") == 0);  // two links of one file: nothing happens
  close(make("c"));
  CHECK(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "d/a", RENAME_EXCHANGE) == 0);
  CHECK(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "d/a", RENAME_NOREPLACE) < 0);
  CHECK(rename("c", "d/a") == 0);
  CHECK(symlink("d/a", "s") == 0);
  CHECK(symlink("../created by a dangling link", "d/dangling") == 0);
  const int fd = make("d/dangling");
  put(fd, "x");
  put(open("s", O_WRONLY), "through a symlink");
  CHECK(unlink("d/b") == 0);
  CHECK(mkdir("e/", 0700) == 0);
  CHECK(mkdir("e/f", 0700) == 0);
  CHECK(rename("e/", "g") == 0);
  close(make("g/f/deep"));
  CHECK(unlink("g/f/deep") == 0);
  CHECK(rmdir("g/f") == 0);
  CHECK(mkfifo("fifo", 0600) == 0);
  CHECK(mknod("node", S_IFREG | 0640, 0) == 0);
  CHECK(unlink("s") == 0);
  CHECK(unlink("absent") < 0);
}

/// Names that come back, inode numbers that come back.
void reuse() {
  for (int i = 0; i < 20; ++i) {
    const int fd = make("same");
    put(fd, std::to_string(i));
    CHECK(close(fd) == 0);
    if (i % 3 == 0) {
      CHECK(rename("same", "other") == 0);
    } else {
      CHECK(unlink("same") == 0);
    }
  }
}

void attributes() {
  const int fd = make("f");
  CHECK(mkdir("d", 0755) == 0);
  CHECK(symlink("f", "s") == 0);
  CHECK(chmod("s", 0600) == 0);
  CHECK(fchmod(fd, 04755) == 0);
  CHECK(fchmodat(AT_FDCWD, "d", 01777, 0) == 0);
  CHECK(fchown(fd, getuid(), getgid()) == 0);
  CHECK(lchown("s", getuid(), getgid()) == 0);
  CHECK(chown("f", getuid(), getgid()) == 0);
  CHECK(fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH) == 0);
  if (setxattr("f", "user.one", "1", 1, 0) == 0) {
    CHECK(fsetxattr(fd, "user.two", "22", 2, 0) == 0);
    CHECK(setxattr("s", "user.one", "changed", 7, XATTR_REPLACE) == 0);
    CHECK(setxattr("d", "user.empty", "", 0, 0) == 0);
    CHECK(removexattr("f", "user.two") == 0);
    CHECK(removexattr("f", "user.two") < 0);
  }
}

void directories() {
  CHECK(mkdir("a", 0755) == 0 && mkdir("a/b", 0755) == 0);
  const int a = open("a", O_RDONLY | O_DIRECTORY);
  const int b = open("a/b", O_PATH);
  put(openat(a, "one", O_WRONLY | O_CREAT, 0600), "1");
  put(openat(b, "../two", O_WRONLY | O_CREAT, 0600), "2");
  CHECK(renameat(a, "one", b, "three") == 0);
  CHECK(mkdirat(b, "c", 0700) == 0);
  CHECK(unlinkat(b, "c", AT_REMOVEDIR) == 0);
  CHECK(symlinkat("/../..", b, "up") == 0);
  CHECK(linkat(b, "three", AT_FDCWD, "four", 0) == 0);
  CHECK(chdir("a/b") == 0);
  put(open("five", O_WRONLY | O_CREAT, 0600), "5");
  put(open("../../a/./b//../six", O_WRONLY | O_CREAT, 0600), "6");
  CHECK(fchdir(a) == 0);
  put(open("b/seven", O_WRONLY | O_CREAT, 0600), "7");
  put(open((std::string(getenv("CRASHGATE_DIR")) + "/eight").c_str(), O_WRONLY | O_CREAT, 0600),
      "8");
  const std::string by_proc = "/proc/self/fd/" + std::to_string(a) + "/nine";
  put(open(by_proc.c_str(), O_WRONLY | O_CREAT, 0600), "9");
  put(open("/proc/self/cwd/ten", O_WRONLY | O_CREAT, 0600), "10");
  open_how how = {};
  how.flags = O_WRONLY | O_CREAT;
  how.mode = 0600;
  put(static_cast<int>(syscall(SYS_openat2, a, "eleven", &how, sizeof how)), "11");
}

void temporary() {
  const int fd = open(".", O_TMPFILE | O_RDWR, 0600);
  CHECK(fd >= 0);
  put(fd, "nameless");
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  CHECK(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
  put(open(path.c_str(), O_WRONLY | O_APPEND), ", then named");
  const int forgotten = open(".", O_TMPFILE | O_RDWR, 0600);
  put(forgotten, "never linked");
}

void copies() {
  const int from = make("from"), to = make("to");
  put(from, std::string(10000, 'x') + std::string(10000, 'y'));
  off_t in = 5000, out = 100;
  CHECK(copy_file_range(from, &in, to, &out, 10000, 0) == 10000);
  in = 0;
  CHECK(sendfile(to, from, &in, 50) == 50);
  int ends[2];
  CHECK(pipe(ends) == 0);
  put(ends[1], "through a pipe");
  CHECK(splice(ends[0], nullptr, to, nullptr, 14, 0) == 14);
  put(ends[1], "at an offset");
  out = 30000;
  CHECK(splice(ends[0], nullptr, to, &out, 12, 0) == 12);
  if (ioctl(to, FICLONE, from) != 0)
    CHECK(errno == EOPNOTSUPP || errno == EXDEV || errno == ENOTTY);
}

void output() {
  const int fd = make("f");
  put(fd, "before\n");
  put(STDOUT_FILENO, "one ");
  CHECK(fsync(fd) == 0);
  const int copy = dup(STDOUT_FILENO);
  iovec parts[] = {{const_cast<char*>("two "), 4}, {const_cast<char*>("three "), 6}};
  CHECK(writev(copy, parts, 2) == 10);
  off_t start = 0;
  CHECK(sendfile(copy, fd, &start, 6) == 6);
  int ends[2];
  CHECK(pipe(ends) == 0);
  put(ends[1], " spliced");
  CHECK(tee(ends[0], copy, 8, 0) == 8 || !isatty(copy));
  CHECK(splice(ends[0], nullptr, copy, nullptr, 8, 0) == 8);
  iovec page = {const_cast<char*>(" vm"), 3};
  CHECK(vmsplice(copy, &page, 1, 0) == 3);
  put(fd, "after\n");
  if (fork() == 0) {
    put(STDOUT_FILENO, " child");
    _exit(0);
  }
  wait_for_all();
  CHECK(crashgate_ack(" explicit") == 1);
  put(fd, "end\n");
}

void big_output() {
  std::vector<char> block(1 << 20, 'o');
  for (int i = 0; i < 20; ++i) put(STDOUT_FILENO, std::string(block.begin(), block.end()));
}

void stdio() {
  std::FILE* file = std::fopen("stdio", "w");
  CHECK(file != nullptr);
  std::printf("begun\n");  // reaches the recorder at exit
  for (int i = 0; i < 5000; ++i) std::fprintf(file, "line %d\n", i);
  CHECK(std::fclose(file) == 0);
  std::printf("done\n");
}

void raw() {
  const long fd = syscall(SYS_open, "raw", O_WRONLY | O_CREAT, 0600);
  CHECK(fd >= 0);
  long result;
  const char text[] = "raw bytes";
  asm volatile("syscall"
               : "=a"(result)
               : "0"(SYS_write), "D"(fd), "S"(text), "d"(sizeof text - 1)
               : "rcx", "r11", "memory");
  CHECK(result == static_cast<long>(sizeof text - 1));
  CHECK(syscall(SYS_fsync, fd) == 0);
}

void processes() {
  const int fd = make("shared", O_WRONLY | O_APPEND);
  for (int i = 0; i < 4; ++i) {
    if (fork() == 0) {
      for (int j = 0; j < 25; ++j) put(fd, "child " + std::to_string(i) + "\n");
      _exit(0);
    }
  }
  wait_for_all();
  std::string mode = "grandchild";
  char* arguments[] = {self.data(), mode.data(), nullptr};
  if (vfork() == 0) {
    execv(arguments[0], arguments);
    _exit(1);
  }
  wait_for_all();
}

void grandchild() {
  put(make("grandchild"), "hello");
}

/// The order of events has to be the order of effect.
void contend() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([i] {
      const int fd = make("log", O_WRONLY | O_APPEND);
      const std::string mine = "mine" + std::to_string(i);
      for (int j = 0; j < 100; ++j) {
        put(fd, std::string(static_cast<std::size_t>(1 + i), static_cast<char>('a' + i)));
        if (j % 10 == 0) {
          const int temporary = make(mine.c_str());
          put(temporary, std::to_string(i * 1000 + j));
          close(temporary);
          CHECK(rename(mine.c_str(), "winner") == 0);
        }
      }
      close(fd);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// `task`, 50 times over in each of three processes, which fails as long as another holds the lock.
template <typename Task>
void contest(Task task) {
  for (int i = 0; i < 3; ++i) {
    if (fork() != 0) continue;
    for (int taken = 0; taken < 50;) taken += task() ? 1 : 0;
    _exit(0);
  }
  wait_for_all();
}

void lock_files() {
  contest([] {
    const int fd = open("lock", O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0) return false;
    put(fd, "held");
    CHECK(unlink("lock") == 0 && close(fd) == 0);
    return true;
  });
}

void lock_directories() {
  contest([] {
    if (mkdir("lock", 0700) != 0) return false;
    put(make("lock/held", O_WRONLY), "held");
    CHECK(unlink("lock/held") == 0 && rmdir("lock") == 0);
    return true;
  });
}

/// Three processes poll for jobs by rename, link, truncation and removal, none of which is there at
/// first.
void poll_names() {
  for (const char* mine : {"mine0", "mine1", "mine2"}) {
    if (fork() != 0) continue;
    for (int taken = 0; taken < 50;) {
      if (link("job", mine) == 0) CHECK(unlink(mine) == 0);
      if (truncate("job", 1) == 0) chmod("job", 0640);
      if (rename("job", mine) != 0) continue;
      CHECK(unlink(mine) == 0);
      ++taken;
    }
    _exit(0);
  }
  for (int i = 0; i < 150; ++i) {
    while (access("job", F_OK) == 0) {
    }
    put(make("next", O_WRONLY), "job");
    CHECK(rename("next", "job") == 0);
  }
  wait_for_all();
}

/// A thread that is no leader calls exec while others write.
void exec_in_thread() {
  for (int i = 0; i < 3; ++i) {
    std::thread([i] {
      const int fd = make(("t" + std::to_string(i)).c_str(), O_WRONLY | O_APPEND);
      while (true) put(fd, "x");
    }).detach();
  }
  std::thread([] {
    usleep(20000);
    std::string mode = "grandchild";
    char* arguments[] = {self.data(), mode.data(), nullptr};
    execv(arguments[0], arguments);
  }).detach();
  while (true) pause();
}

/// Killed while its threads write.
void killed() {
  for (int i = 0; i < 3; ++i) {
    std::thread([i] {
      const int fd = make(("t" + std::to_string(i)).c_str(), O_WRONLY | O_APPEND);
      while (true) put(fd, "x");
    }).detach();
  }
  usleep(20000);
  kill(getpid(), SIGKILL);
}

void exit_while_writing() {
  for (int i = 0; i < 3; ++i) {
    std::thread([i] {
      const int fd = make(("t" + std::to_string(i)).c_str(), O_WRONLY | O_APPEND);
      while (true) put(fd, "x");
    }).detach();
  }
  usleep(20000);
  _exit(0);
}

void leader_ends() {
  static pthread_t leader = pthread_self();
  std::thread([] {
    CHECK(pthread_join(leader, nullptr) == 0);
    put(make("by the last thread"), "still here");
    std::exit(0);
  }).detach();
  pthread_exit(nullptr);
}

void stopped() {
  const int fd = make("f");
  const pid_t child = fork();
  if (child == 0) {
    put(fd, "before, ");
    raise(SIGSTOP);
    put(fd, "after");
    _exit(7);
  }
  int status = 0;
  CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
  CHECK(WSTOPSIG(status) == SIGSTOP);
  put(fd, "while stopped, ");
  CHECK(kill(child, SIGCONT) == 0);
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

void interrupted() {
  static std::atomic<int> ticks = 0;
  struct sigaction action = {};
  action.sa_handler = [](int) { ++ticks; };
  action.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGALRM, &action, nullptr) == 0);
  itimerval every = {{0, 500}, {0, 500}};
  CHECK(setitimer(ITIMER_REAL, &every, nullptr) == 0);
  const int fd = make("f", O_WRONLY | O_APPEND);
  for (int i = 0; i < 2000 || ticks < 20; ++i) put(fd, "tick ");
  every = {};
  setitimer(ITIMER_REAL, &every, nullptr);
}

/// A pipe that is full, then a lock that is held: neither may hold up the rest.
void waits() {
  int ends[2];
  CHECK(pipe(ends) == 0);
  std::thread writer([&] { put(ends[1], std::string(300000, 'p')); });
  const int fd = make("f");
  for (int i = 0; i < 100; ++i) put(fd, "not held up\n");
  std::vector<char> sink(300000);
  std::size_t got = 0;
  while (got < sink.size()) {
    const ssize_t count = read(ends[0], sink.data(), sink.size());
    CHECK(count > 0);
    got += static_cast<std::size_t>(count);
  }
  writer.join();
  std::thread splicer([&] { CHECK(splice(ends[0], nullptr, fd, nullptr, 5, 0) == 5); });
  const int other = make("g");
  for (int i = 0; i < 100; ++i) put(other, "nor here\n");
  put(ends[1], "moved");
  splicer.join();
}

void mapped() {
  const int fd = make("mapped");
  CHECK(ftruncate(fd, 8192) == 0);
  char* memory = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  CHECK(memory != MAP_FAILED);
  std::memset(memory + 4000, 'm', 200);
  CHECK(msync(memory, 8192, MS_SYNC) == 0);
}

void made_writable() {
  const int fd = make("mapped");
  CHECK(ftruncate(fd, 4096) == 0);
  char* memory = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
  CHECK(memory != MAP_FAILED);
  if (getenv("MAKE_WRITABLE") != nullptr)
    CHECK(mprotect(memory, 4096, PROT_READ | PROT_WRITE) == 0);
}

void private_mapping() {
  const int fd = make("mapped");
  CHECK(ftruncate(fd, 4096) == 0);
  CHECK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
  const int reader = open("mapped", O_RDONLY);
  CHECK(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, reader, 0) != MAP_FAILED);
}

void uring() {
  CHECK(syscall(SYS_io_uring_setup, 8, nullptr) < 0 && errno == ENOSYS);
}

void aio() {
  unsigned long context = 0;
  CHECK(syscall(SYS_io_setup, 8, &context) == 0);
  struct {
    std::uint64_t data = 0;
    std::uint32_t key = 0, rw_flags = 0;
    std::uint16_t opcode = 1;  // IOCB_CMD_PWRITE
    std::int16_t priority = 0;
    std::uint32_t fd = 0;
    std::uint64_t buffer = 0, count = 0, offset = 0, reserved = 0;
    std::uint32_t flags = 0, result_fd = 0;
  } block;
  block.fd = static_cast<std::uint32_t>(make("f"));
  block.buffer = reinterpret_cast<std::uint64_t>("asynchronous");
  block.count = 12;
  void* blocks[] = {&block};
  CHECK(syscall(SYS_io_submit, context, 1, blocks) == 1);
}

/// More than the disk below takes.
void overcommits() {
  const int fd = make("f");
  for (int i = 0; i < 6; ++i) put(fd, std::string(1 << 20, 'x'));
  CHECK(fsync(fd) < 0);
  CHECK(fsync(fd) == 0);
  CHECK(fsync(open("f", O_PATH)) < 0 && errno == EBADF);
}

void failing() {
  rlimit limit = {100, 100};
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  signal(SIGXFSZ, SIG_IGN);
  const int fd = make("f");
  const std::string text(80, 'f');
  put(fd, text);
  CHECK(write(fd, text.data(), text.size()) == 20);  // shortened
  CHECK(write(fd, text.data(), text.size()) < 0 && errno == EFBIG);
  CHECK(ftruncate(fd, 1000) < 0);
}

/// Files outside that failing calls tried to move in and to link.
void stays_outside() {
  const std::string place = getenv("OUTSIDE");
  const std::string log = place + "/log", temporary = place + "/temporary";
  CHECK(mkdir("directory", 0700) == 0);
  const int fd = make(log.c_str());
  CHECK(rename(log.c_str(), "directory") < 0);
  CHECK(link(log.c_str(), "directory") < 0);
  put(fd, "not of the tree");
  CHECK(fsync(fd) == 0);
  put(make(temporary.c_str()), "content");
  CHECK(rename(temporary.c_str(), "directory") < 0);
  CHECK(rename(temporary.c_str(), "moved in") == 0);
}

/// A mapping with flags that the file system refuses, and then one without them.
void second_mapping() {
  const int fd = make("mapped");
  CHECK(ftruncate(fd, 4096) == 0);
  constexpr int kPersistent = MAP_SHARED_VALIDATE | 0x80000;  // MAP_SYNC
  CHECK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, kPersistent, fd, 0) == MAP_FAILED);
  void* mapped = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(mapped != MAP_FAILED);
  std::memcpy(mapped, "unseen", 6);
}

void crash() {
  put(make("f"), "before the end");
  raise(SIGSEGV);
}

void daemon() {
  if (fork() == 0) {
    setsid();
    if (fork() == 0) {
      put(make("daemon"), "alive");
      while (true) pause();
    }
    _exit(0);
  }
  wait_for_all();
  while (access("daemon", F_OK) != 0) usleep(1000);
}

void forever() {
  while (true) pause();
}

void outside() {
  const std::string place = getenv("OUTSIDE");
  put(open((place + "/f").c_str(), O_WRONLY | O_CREAT, 0600), "outside");
  put(open((place + "/f").c_str(), O_WRONLY | O_APPEND), "again");
  put(open("/dev/null", O_WRONLY), "nothing");
  put(make("in"), "inside");
}

void moves() {
  const std::string place = getenv("OUTSIDE");
  put(make("leaves"), "and comes back");
  CHECK(rename("leaves", (place + "/away").c_str()) == 0);
  put(open((place + "/away").c_str(), O_WRONLY | O_APPEND), " longer");
  CHECK(rename((place + "/away").c_str(), "back") == 0);
  put(make("gone"), "for good");
  CHECK(rename("gone", (place + "/gone").c_str()) == 0);
}

void moved_in() {
  const std::string place = getenv("OUTSIDE");
  put(open((place + "/f").c_str(), O_WRONLY | O_CREAT, 0600), "outside");
  CHECK(rename((place + "/f").c_str(), "in") == 0);
}

void ignored() {
  put(make("log.tmp"), "disposable");
  CHECK(mkdir("cache", 0755) == 0);
  put(make("cache/x"), "disposable");
  put(make("kept"), "kept");
  CHECK(rename("log.tmp", "other.tmp") == 0);
  CHECK(unlink("cache/x") == 0);
}

void listens() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "socket");
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(mkfifo("fifo", 0600) == 0);
  const int fifo = open("fifo", O_RDWR);
  put(fifo, "not storage");
  CHECK(unlink("socket") == 0);
}

[[gnu::noinline]] void store_record(int fd) {
  put(fd, "record");
  CHECK(fsync(fd) == 0);  // the line of the fsync
  asm volatile("");       // no tail call
}
[[gnu::noinline]] void commit_transaction(int fd) {
  store_record(fd);
  asm volatile("");
}
/// In a program, in a thread, in a child.
void stacked() {
  const int fd = make("f");
  commit_transaction(fd);
  std::thread(commit_transaction, fd).join();
  if (fork() == 0) {
    commit_transaction(fd);
    _exit(0);
  }
  wait_for_all();
}

/// A system call as a 32-bit program makes it.
void foreign() {
  long result;
  asm volatile("int $0x80"
               : "=a"(result)
               : "0"(20L)
               : "memory", "r8", "r9", "r10", "r11");  // getpid
  put(make("f"), result > 0 ? "a 32-bit call" : "not on this kernel");
}

/// Paths mean something else below another root.
void chrooted() {
  CHECK(mkdir("r", 0755) == 0 && mkdir("r/d", 0755) == 0);
  CHECK(symlink("/d/absolute", "r/link") == 0);
  const int above = open(".", O_RDONLY | O_DIRECTORY);
  if (chroot("r") != 0) {
    CHECK(errno == EPERM);
    return;
  }
  put(make("below the old directory"), "1");
  CHECK(chdir("/") == 0);
  put(make("/a"), "2");
  put(make("link"), "3");
  put(make("../../../b"), "4");
  CHECK(rename("/a", "/d/../c") == 0);
  put(openat(above, "above", O_WRONLY | O_CREAT, 0600), "5");
}

void beneath() {
  CHECK(mkdir("r", 0755) == 0);
  open_how how = {};
  how.flags = O_WRONLY | O_CREAT;
  how.mode = 0600;
  how.resolve = RESOLVE_IN_ROOT;
  put(static_cast<int>(syscall(SYS_openat2, open("r", O_PATH), "/in", &how, sizeof how)), "x");
}

const std::map<std::string, void (*)()> modes = {
    {"stacked", stacked},
    {"foreign", foreign},
    {"chrooted", chrooted},
    {"beneath", beneath},
    {"writes", writes},
    {"appends", appends},
    {"resizes", resizes},
    {"names", names},
    {"reuse", reuse},
    {"attributes", attributes},
    {"directories", directories},
    {"temporary", temporary},
    {"copies", copies},
    {"output", output},
    {"big_output", big_output},
    {"stdio", stdio},
    {"raw", raw},
    {"processes", processes},
    {"grandchild", grandchild},
    {"contend", contend},
    {"exec_in_thread", exec_in_thread},
    {"killed", killed},
    {"exit_while_writing", exit_while_writing},
    {"lock_directories", lock_directories},
    {"lock_files", lock_files},
    {"poll_names", poll_names},
    {"second_mapping", second_mapping},
    {"stays_outside", stays_outside},
    {"leader_ends", leader_ends},
    {"stopped", stopped},
    {"interrupted", interrupted},
    {"waits", waits},
    {"mapped", mapped},
    {"made_writable", made_writable},
    {"private_mapping", private_mapping},
    {"uring", uring},
    {"aio", aio},
    {"failing", failing},
    {"overcommits", overcommits},
    {"crash", crash},
    {"daemon", daemon},
    {"forever", forever},
    {"outside", outside},
    {"moves", moves},
    {"moved_in", moved_in},
    {"ignored", ignored},
    {"listens", listens},
};

}  // namespace

int main(int argc, char** argv) {
  self = argv[0];
  const auto mode = modes.find(argc > 1 ? argv[1] : "");
  if (mode == modes.end()) {
    std::fprintf(stderr, "recorder_probe: no such mode\n");
    return 2;
  }
  mode->second();
  return 0;
}
