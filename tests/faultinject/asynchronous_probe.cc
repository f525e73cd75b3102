// Programs that use Linux AIO, to record, in one: asynchronous_probe MODE runs MODE in the working
// directory and exits 0, or says what went wrong. It calls the kernel by number, as libaio does.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/faultinject/probe_steps.h"

namespace {

void tell(const char* text) {
  CHECK(write(STDOUT_FILENO, text, std::strlen(text)) == static_cast<ssize_t>(std::strlen(text)));
}

iocb request(int fd, unsigned opcode, const void* buffer = nullptr, std::uint64_t count = 0,
             std::int64_t offset = 0, int flags = 0) {
  iocb block = {};
  block.aio_fildes = static_cast<std::uint32_t>(fd);
  block.aio_lio_opcode = static_cast<std::uint16_t>(opcode);
  block.aio_buf = reinterpret_cast<std::uint64_t>(buffer);
  block.aio_nbytes = count;
  block.aio_offset = offset;
  block.aio_rw_flags = flags;
  return block;
}
iocb write_of(int fd, const std::string& text, std::int64_t offset, int flags = 0) {
  return request(fd, IOCB_CMD_PWRITE, text.data(), text.size(), offset, flags);
}

class Context {
 public:
  explicit Context(unsigned requests = 8) {
    CHECK(syscall(SYS_io_setup, requests, &context_) == 0);
  }
  /// How many were taken.
  long submit(std::vector<iocb>& blocks) const {
    std::vector<iocb*> pointers;
    for (iocb& block : blocks) pointers.push_back(&block);
    return syscall(SYS_io_submit, context_, pointers.size(), pointers.data());
  }
  /// Results, as they come.
  std::vector<std::int64_t> reap(long count) const {
    std::vector<io_event> events(static_cast<std::size_t>(count));
    long got = 0;
    while (got < count) {
      const long more =
          syscall(SYS_io_getevents, context_, 1, count - got, events.data() + got, nullptr);
      CHECK(more > 0);
      got += more;
    }
    std::vector<std::int64_t> results;
    for (const io_event& event : events) results.push_back(event.res);
    return results;
  }
  /// Does all and waits for it.
  std::vector<std::int64_t> run(std::vector<iocb> blocks) const {
    CHECK(submit(blocks) == static_cast<long>(blocks.size()));
    return reap(static_cast<long>(blocks.size()));
  }
  /// Takes what has come out of the ring without a call.
  unsigned take() const {
    auto* ring = reinterpret_cast<volatile std::uint32_t*>(context_);  // id, slots, head, tail
    const std::uint32_t tail = ring[3], head = ring[2];
    std::atomic_thread_fence(std::memory_order_acquire);
    ring[2] = tail;
    return (tail + ring[1] - head) % ring[1];
  }
  void destroy() const { CHECK(syscall(SYS_io_destroy, context_) == 0); }

 private:
  aio_context_t context_ = 0;
};

constexpr std::size_t kBlock = 4096;

/// Aligned, for direct writes.
char* block_of(char letter) {
  auto* block = static_cast<char*>(std::aligned_alloc(kBlock, kBlock));
  std::memset(block, letter, kBlock);
  return block;
}
iocb direct_write(int fd, char letter, std::int64_t block, int flags = 0) {
  return request(fd, IOCB_CMD_PWRITE, block_of(letter), kBlock,
                 block * static_cast<std::int64_t>(kBlock), flags);
}

/// Tells when it has submitted, and when it has the results.
void buffered() {
  const int fd = make("f");
  const Context context;
  const std::string text = "asynchronous";
  const iovec parts[] = {{const_cast<char*>("one"), 3}, {const_cast<char*>("two"), 3}};
  char buffer[4];
  int ends[2];
  CHECK(pipe(ends) == 0);
  std::vector<iocb> blocks = {
      write_of(fd, text, 0), request(fd, IOCB_CMD_PREAD, buffer, sizeof buffer),
      request(fd, IOCB_CMD_PWRITEV, parts, 2, 100),
      request(ends[1], IOCB_CMD_POLL, reinterpret_cast<void*>(POLLOUT)), write_of(fd, text, 200)};
  CHECK(context.submit(blocks) == 5);
  tell("submitted");
  context.reap(5);
  tell("reaped");
  CHECK(fsync(fd) == 0);
}

void syncs() {
  const int fd = make("f");
  const Context context;
  const std::string text = "durable";
  context.run({write_of(fd, text, 0, RWF_DSYNC)});
  context.run({write_of(fd, text, 10, RWF_SYNC)});
  context.run({write_of(make("data", O_WRONLY | O_DSYNC), text, 0)});
  context.run({write_of(make("file", O_WRONLY | O_SYNC), text, 0)});
  context.run({request(fd, IOCB_CMD_FSYNC)});
  context.run({request(fd, IOCB_CMD_FDSYNC)});
  context.run({request(open(".", O_RDONLY | O_DIRECTORY), IOCB_CMD_FSYNC)});
}

/// A write and an fsync at once, then another fsync when that is known.
void together() {
  const int fd = make("f");
  const Context context;
  const std::string text = "not covered at first";
  context.run({write_of(fd, text, 0), request(fd, IOCB_CMD_FSYNC)});
  context.run({request(fd, IOCB_CMD_FSYNC)});
}

void appends() {
  const int fd = make("f", O_WRONLY | O_APPEND);
  const int other = make("f", O_WRONLY);
  const Context context;
  const std::string text = "appended ";
  CHECK(write(fd, "first ", 6) == 6);
  context.run({write_of(fd, text, 0), write_of(other, text, 3, RWF_APPEND),
               write_of(other, text, 40), write_of(fd, text, 0)});
  context.run({write_of(fd, text, 0, RWF_DSYNC)});
}

/// Fewer than asked, shorter than asked, and not at all.
void partial() {
  const int fd = make("f");
  const Context context;
  const std::string text(80, 'p');
  std::vector<iocb> blocks = {write_of(fd, text, 0), write_of(1000, text, 0),
                              write_of(fd, text, 500)};
  CHECK(context.submit(blocks) == 1);
  context.reap(1);
  const rlimit limit = {100, 100};
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  signal(SIGXFSZ, SIG_IGN);
  CHECK(context.run({write_of(fd, text, 60)}) == std::vector<std::int64_t>{40});
  CHECK(context.run({write_of(fd, text, 200)}) == std::vector<std::int64_t>{-EFBIG});
  CHECK(context.run({write_of(fd, "", 0, RWF_DSYNC)}) == std::vector<std::int64_t>{0});
  blocks = {write_of(1000, text, 0)};
  CHECK(context.submit(blocks) < 0 && errno == EBADF);
}

void never_reaped() {
  const int fd = make("f");
  const Context context;
  const std::string text = "who knows";
  std::vector<iocb> blocks = {write_of(fd, text, 0), request(fd, IOCB_CMD_FSYNC)};
  CHECK(context.submit(blocks) == 2);
  CHECK(fsync(fd) == 0);
  tell("done?");
}

/// Three ways to take completions that a recorder must not miss: each before what it tells.
void taken() {
  const int fd = make("f");
  const std::string text = "known";
  {
    const Context context;
    std::vector<iocb> blocks = {write_of(fd, text, 0)};
    CHECK(context.submit(blocks) == 1);
    while (context.take() == 0) usleep(100);
    tell("ring");
  }
  {
    const Context context;
    context.run({write_of(fd, text, 10)});
    context.destroy();
    tell("destroyed");
  }
  if (fork() == 0) {
    Context().run({write_of(fd, text, 20)});
    _exit(0);
  }
  int status = 0;
  CHECK(wait(&status) > 0 && status == 0);
  tell("child");
}

/// More rounds than the ring has slots, taken later or earlier.
void rounds() {
  const int fd = make("f");
  const Context context(1);
  const std::string text = "round";
  for (int round = 0; round < 1500; ++round) {
    std::vector<iocb> blocks;
    for (int i = 0; i <= round % 3; ++i) blocks.push_back(write_of(fd, text, i * 100 + round));
    CHECK(context.submit(blocks) == static_cast<long>(blocks.size()));
    if (round % 2 == 0) {
      context.reap(static_cast<long>(blocks.size()));
    } else {
      unsigned taken = 0;
      while ((taken += context.take()) < blocks.size()) {
      }
    }
  }
  CHECK(fsync(fd) == 0);
}

void direct() {
  const int fd = make("f", O_RDWR | O_DIRECT);
  CHECK(ftruncate(fd, 8 * kBlock) == 0);
  const Context context(32);
  std::vector<iocb> blocks;
  for (int i = 0; i < 12; ++i) {  // the last ones extend it
    blocks.push_back(direct_write(fd, static_cast<char>('a' + i), i, i % 3 == 0 ? RWF_DSYNC : 0));
  }
  blocks.push_back(request(fd, IOCB_CMD_FDSYNC));
  CHECK(context.submit(blocks) == 13);
  context.reap(13);
  context.run({request(fd, IOCB_CMD_PWRITE, "unaligned", 9, 1)});  // fails on a disk
  context.run({direct_write(fd, 'z', 0)});
  CHECK(fsync(fd) == 0);
}

/// Synchronous, so it may have failed at either end.
void fails() {
  const Context context;
  const auto* nowhere = reinterpret_cast<const void*>(kBlock);
  const int fd = make("f");
  CHECK(context.run({request(fd, IOCB_CMD_PWRITE, nowhere, 10)}) ==
        std::vector<std::int64_t>{-EFAULT});
  CHECK(context.run({request(fd, IOCB_CMD_PWRITE, nowhere, 10, 0, RWF_DSYNC)}) ==
        std::vector<std::int64_t>{-EFAULT});
}

/// Two direct writes of one block under way at once.
void contested() {
  const int fd = make("f", O_RDWR | O_DIRECT);
  const Context context;
  context.run({direct_write(fd, 'a', 0), direct_write(fd, 'b', 0)});
}

/// Ordinary ones, at once.
void contested_at_once() {
  const int fd = make("f");
  const Context context;
  const std::string text = "overlapping";
  context.run({write_of(fd, text, 0), write_of(fd, text, 5)});
}

/// As contested, the second one ordinary.
void contested_by_write() {
  const int fd = make("f", O_RDWR | O_DIRECT);
  const Context context;
  std::vector<iocb> blocks = {direct_write(fd, 'a', 0)};
  CHECK(context.submit(blocks) == 1);
  CHECK(pwrite(make("f"), "b", 1, 10) == 1);
  context.reap(1);
}

void to_output() {
  const Context context;
  context.run({write_of(STDOUT_FILENO, "told", 0)});
}

/// Dies right after it has submitted, and while it submits.
void killed() {
  for (const bool after : {true, false}) {
    if (fork() == 0) {
      const int fd = make(after ? "after" : "during", O_RDWR | O_DIRECT);
      const Context context(32);
      std::vector<iocb> blocks;
      for (int i = 0; i < 8; ++i) blocks.push_back(direct_write(fd, 'k', i));
      if (!after) std::thread([] { raise(SIGKILL); }).detach();
      while (true) {
        CHECK(context.submit(blocks) == 8);
        if (after) raise(SIGKILL);
        context.reap(8);
      }
    }
    int status = 0;
    CHECK(wait(&status) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
}

/// Several threads, each with a block of its own.
void threads() {
  const int fd = make("f", O_RDWR | O_DIRECT);
  CHECK(ftruncate(fd, 4 * kBlock) == 0);
  std::vector<std::thread> all;
  for (int i = 0; i < 4; ++i) {
    all.emplace_back([&, i] {
      const Context context;
      for (int round = 0; round < 30; ++round) {
        context.run({direct_write(fd, static_cast<char>('a' + i), i)});
        if (round % 10 == 0) CHECK(fdatasync(fd) == 0);
      }
    });
  }
  for (std::thread& each : all) each.join();
}

const std::map<std::string, void (*)()> modes = {
    {"buffered", buffered},
    {"syncs", syncs},
    {"together", together},
    {"appends", appends},
    {"partial", partial},
    {"never_reaped", never_reaped},
    {"taken", taken},
    {"rounds", rounds},
    {"direct", direct},
    {"fails", fails},
    {"contested", contested},
    {"contested_at_once", contested_at_once},
    {"contested_by_write", contested_by_write},
    {"to_output", to_output},
    {"killed", killed},
    {"threads", threads},
};

}  // namespace

int main(int argc, char** argv) {
  const auto mode = modes.find(argc > 1 ? argv[1] : "");
  if (mode == modes.end()) {
    std::fprintf(stderr, "asynchronous_probe: no such mode\n");
    return 2;
  }
  mode->second();
  return 0;
}
