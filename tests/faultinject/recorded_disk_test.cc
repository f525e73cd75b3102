#include "faultinject/disk/recorded_disk.h"

#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "tests/faultinject/disk_fixture.h"

namespace crashgate::faultinject {
namespace {

class RecordedDiskTest : public DiskFixture {
 protected:
  static std::string line(const BlockRequest& request) {
    constexpr std::array<const char*, 4> kNames = {"write", "flush", "discard", "zero-out"};
    std::string text = kNames.at(static_cast<std::size_t>(request.kind));
    if (request.kind == BlockRequestKind::kFlush) return text;
    return text + " " + std::to_string(request.length) + " at " + std::to_string(request.offset);
  }
  static std::vector<std::string> lines(const BlockTrace& trace) {
    std::vector<std::string> result;
    for (const BlockRequest& request : trace.requests) result.push_back(line(request));
    return result;
  }

  /// The only child of this process.
  static pid_t server() {
    const std::string self = std::to_string(getpid());
    return std::stoi(read_file("/proc/" + self + "/task/" + self + "/children"));
  }

  static void replay(const BlockTrace& trace, std::string& content) {
    for (const BlockRequest& request : trace.requests) {
      if (request.kind == BlockRequestKind::kFlush) continue;
      const std::string_view data = trace.data(request);
      for (std::uint64_t i = 0; i < request.length; ++i) {
        content[request.offset + i] = request.kind == BlockRequestKind::kWrite ? data[i] : '\0';
      }
    }
  }
};

TEST_F(RecordedDiskTest, WritesDownWhatItIsAsked) {
  const TestDisk disk = make_disk();
  const UniqueFd device = open_direct(disk);
  ASSERT_TRUE(write_direct(device.get(), 8192, 4096, 'a'));
  ASSERT_TRUE(write_direct(device.get(), 512 * 33, 512, 'b'));
  ASSERT_EQ(fsync(device.get()), 0);
  ASSERT_TRUE(write_direct(device.get(), 1 << 20, 256 << 10, 'c'));
  std::array<std::uint64_t, 2> range = {16384, 8192};
  ASSERT_EQ(ioctl(device.get(), BLKDISCARD, range.data()), 0);
  range = {32768, 4096};
  ASSERT_EQ(ioctl(device.get(), BLKZEROOUT, range.data()), 0);
  ASSERT_EQ(fsync(device.get()), 0);

  const BlockTrace trace = collect(disk);
  EXPECT_EQ(lines(trace),
            (std::vector<std::string>{"write 4096 at 8192", "write 512 at 16896", "flush",
                                      "write 262144 at 1048576", "discard 8192 at 16384",
                                      "zero-out 4096 at 32768", "flush"}));
  EXPECT_EQ(trace.data(trace.requests[0]), std::string(4096, 'a'));
  EXPECT_EQ(trace.data(trace.requests[1]), std::string(512, 'b'));
  EXPECT_EQ(trace.data(trace.requests[3]), std::string(256 << 10, 'c'));
  // One after the other: each had ended before the next began.
  std::uint64_t stamp = kStampsOfAttaching;
  for (const BlockRequest& request : trace.requests) {
    EXPECT_EQ(request.begin, ++stamp);
    EXPECT_EQ(request.end, ++stamp);
  }
  EXPECT_EQ(trace.last_stamp, stamp);
  EXPECT_EQ(disk.recorded.stamp(), stamp);
}

TEST_F(RecordedDiskTest, KeepsWhatWasWritten) {
  const TestDisk disk = make_disk();
  const UniqueFd device = open_direct(disk);
  ASSERT_TRUE(write_direct(device.get(), 65536, 8192, 'a'));
  std::array<std::uint64_t, 2> range = {65536 + 4096, 4096};
  ASSERT_EQ(ioctl(device.get(), BLKDISCARD, range.data()), 0);
  const AlignedBuffer buffer(12288, 'x');
  ASSERT_EQ(pread(device.get(), buffer.data(), buffer.size(), 65536 - 4096), 12288);
  EXPECT_EQ(buffer.view(),
            std::string(4096, '\0') + std::string(4096, 'a') + std::string(4096, '\0'));
}

TEST_F(RecordedDiskTest, TakesMemoryForWhatItHoldsOnly) {
  const TestDisk disk = make_disk();
  const UniqueFd device = open_direct(disk);
  const auto memory = [&] {
    struct stat status;
    EXPECT_EQ(fstat(disk.image.get(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  };
  const AlignedBuffer buffer(4 << 20);
  ASSERT_EQ(pread(device.get(), buffer.data(), buffer.size(), 0), 4 << 20);
  EXPECT_EQ(memory(), 0u);
  ASSERT_TRUE(write_direct(device.get(), 8 << 20, 1 << 20, 'a'));
  EXPECT_GE(memory(), 1u << 20);
  std::array<std::uint64_t, 2> range = {0, kDiskBytes};
  ASSERT_EQ(ioctl(device.get(), BLKDISCARD, range.data()), 0);
  EXPECT_EQ(memory(), 0u);
}

/// The log alone makes the image: of a file system's life, with all that the kernel does at once.
TEST_F(RecordedDiskTest, IsWhatItsLogSays) {
  for (const std::string make : {"mkfs.ext4 -q", "mkfs.btrfs -q -f"}) {
    const TestDisk disk = make_disk("disk-" + make.substr(5, 4));
    const std::string mounted = make_directory("mounted");
    if (make.ends_with("-f") && !run("command -v mkfs.btrfs >/dev/null")) continue;
    // btrfs wants more than the disk has for its default profile.
    const std::string options = make.ends_with("-f") ? " --mixed" : "";
    ASSERT_TRUE(run(make + options + " " + disk.recorded.device()));
    ASSERT_TRUE(run("mount " + disk.recorded.device() + " " + mounted));
    ASSERT_TRUE(run("cd " + mounted +
                    " && for i in 1 2 3 4 5 6 7 8; do"
                    "   seq $i 20000 > file$i; mkdir d$i; mv file$i d$i/f; [ $i = 5 ] && sync;"
                    "   truncate -s 5000 d$i/f;"
                    " done; rm -r d3 d4; sync d8/f"));
    ASSERT_EQ(umount(mounted.c_str()), 0);
    const BlockTrace trace = collect(disk);
    EXPECT_GT(trace.requests.size(), 20u);
    std::string content(kDiskBytes, '\0');
    replay(trace, content);
    EXPECT_TRUE(content == read_image(disk)) << make;

    std::map<std::uint64_t, int> stamps;
    for (const BlockRequest& request : trace.requests) {
      EXPECT_LT(request.begin, request.end);
      ++stamps[request.begin];
      ++stamps[request.end];
    }
    EXPECT_EQ(stamps.size(), 2 * trace.requests.size());
    EXPECT_EQ(stamps.begin()->first, kStampsOfAttaching + 1);
    EXPECT_EQ(stamps.rbegin()->first, trace.last_stamp);
  }
}

/// With the server stopped until all requests wait for it: so no luck is needed.
TEST_F(RecordedDiskTest, RequestsUnderWayAtOnceOverlap) {
  constexpr std::size_t kWrites = 16;
  const TestDisk disk = make_disk();
  const UniqueFd device = open_direct(disk);
  const std::string control = make_directory("control");
  ASSERT_EQ(mount("fusectl", control.c_str(), "fusectl", 0, nullptr), 0);
  struct stat status;
  ASSERT_EQ(stat((scratch_ + "/disk").c_str(), &status), 0);
  const std::string waiting = control + "/" + std::to_string(minor(status.st_dev)) + "/waiting";

  aio_context_t context = 0;
  ASSERT_EQ(syscall(SYS_io_setup, kWrites, &context), 0);
  const AlignedBuffer buffer(4096, 'a');
  std::array<iocb, kWrites> writes = {};
  std::array<iocb*, kWrites> submitted;
  for (std::size_t i = 0; i < kWrites; ++i) {
    writes[i].aio_lio_opcode = IOCB_CMD_PWRITE;
    writes[i].aio_fildes = static_cast<std::uint32_t>(device.get());
    writes[i].aio_buf = reinterpret_cast<std::uint64_t>(buffer.data());
    writes[i].aio_nbytes = buffer.size();
    writes[i].aio_offset = static_cast<std::int64_t>(i * 65536);
    submitted[i] = &writes[i];
  }
  ASSERT_EQ(kill(server(), SIGSTOP), 0);
  siginfo_t stopped;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(server()), &stopped, WSTOPPED), 0);
  EXPECT_EQ(syscall(SYS_io_submit, context, kWrites, submitted.data()), long{kWrites});
  EXPECT_TRUE(eventually([&] { return read_file(waiting) == std::to_string(kWrites) + "\n"; }))
      << read_file(waiting);
  ASSERT_EQ(kill(server(), SIGCONT), 0);
  std::array<io_event, kWrites> ended;
  EXPECT_EQ(syscall(SYS_io_getevents, context, kWrites, kWrites, ended.data(), nullptr),
            long{kWrites});
  syscall(SYS_io_destroy, context);

  const BlockTrace trace = collect(disk);
  ASSERT_EQ(trace.requests.size(), kWrites);
  for (const BlockRequest& request : trace.requests) {
    EXPECT_LE(request.begin, kStampsOfAttaching + kWrites);
    EXPECT_GT(request.end, kStampsOfAttaching + kWrites);
  }
}

TEST_F(RecordedDiskTest, TwoAtOnceDoNotMix) {
  const TestDisk one = make_disk("one");
  const TestDisk two = make_disk("two");
  ASSERT_NE(one.recorded.device(), two.recorded.device());
  ASSERT_TRUE(write_direct(open_direct(one).get(), 4096, 4096, 'a'));
  ASSERT_TRUE(write_direct(open_direct(two).get(), 8192, 512, 'b'));
  EXPECT_EQ(lines(collect(one)), std::vector<std::string>{"write 4096 at 4096"});
  EXPECT_EQ(lines(collect(two)), std::vector<std::string>{"write 512 at 8192"});
}

/// A server that kept the mounts of its owner would keep that file system, and its disk.
TEST_F(RecordedDiskTest, IsNotHeldByAnother) {
  auto one = std::make_optional(make_disk("one"));
  const std::string mounted = make_directory("mounted");
  ASSERT_TRUE(run("mkfs.ext4 -q " + one->recorded.device() + " && mount " + one->recorded.device() +
                  " " + mounted));
  const std::string device = one->recorded.device();
  const TestDisk two = make_disk("two");
  ASSERT_EQ(umount(mounted.c_str()), 0);
  one.reset();
  EXPECT_FALSE(is_attached(device));
  EXPECT_TRUE(is_attached(two.recorded.device()));
}

TEST_F(RecordedDiskTest, ALogThatIsFullIsAnError) {
  const TestDisk disk = make_disk("disk", 64 << 10);
  const UniqueFd device = open_direct(disk);
  ASSERT_TRUE(write_direct(device.get(), 0, 32 << 10, 'a'));
  EXPECT_EQ(collect(disk).requests.size(), 1u);
  ASSERT_TRUE(write_direct(device.get(), 0, 33 << 10, 'b'));
  const auto trace = disk.recorded.collect();
  ASSERT_FALSE(trace.has_value());
  EXPECT_EQ(trace.error().message,
            "the log of the recorded disk is full, with 32768 bytes of data");
  // The disk itself goes on.
  const AlignedBuffer buffer(4096);
  ASSERT_EQ(pread(device.get(), buffer.data(), buffer.size(), 0), 4096);
  EXPECT_EQ(buffer.view(), std::string(4096, 'b'));
}

TEST_F(RecordedDiskTest, SaysThatItsServerDied) {
  std::string name;
  {
    const TestDisk disk = make_disk();
    name = disk.recorded.device();
    const UniqueFd device = open_direct(disk);
    ASSERT_TRUE(write_direct(device.get(), 0, 4096, 'a'));
    const pid_t killed = server();
    ASSERT_EQ(kill(killed, SIGKILL), 0);
    siginfo_t info;
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(killed), &info, WEXITED | WNOWAIT), 0);
    EXPECT_FALSE(write_direct(device.get(), 0, 4096, 'b'));
    EXPECT_EQ(errno, EIO);
    const auto trace = disk.recorded.collect();
    ASSERT_FALSE(trace.has_value());
    EXPECT_EQ(trace.error().message, "the server of the recorded disk has ended, by signal 9");
  }
  EXPECT_FALSE(is_attached(name));
  EXPECT_EQ(read_file("/proc/self/mountinfo").find(scratch_ + "/disk"), std::string::npos);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

/// The file system above sees errors, and can be unmounted all the same; whichever goes first.
TEST_F(RecordedDiskTest, MayDieUnderAFileSystem) {
  const std::string mounted = make_directory("mounted");
  for (const bool destroyed : {false, true}) {
    auto disk = std::make_optional(make_disk());
    const std::string device = disk->recorded.device();
    ASSERT_TRUE(run("mkfs.ext4 -q " + disk->recorded.device() + " && mount " +
                    disk->recorded.device() + " " + mounted + " && seq 100000 > " + mounted +
                    "/file"));
    if (destroyed) {
      disk.reset();
    } else {
      ASSERT_EQ(kill(server(), SIGKILL), 0);
    }
    EXPECT_FALSE(run("sync " + mounted + "/file 2>&-"));
    EXPECT_EQ(umount(mounted.c_str()), 0);
    disk.reset();
    EXPECT_FALSE(is_attached(device));
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  }
}

TEST_F(RecordedDiskTest, LeavesNothing) {
  std::string device;
  {
    const TestDisk disk = make_disk();
    device = disk.recorded.device();
    EXPECT_TRUE(is_attached(device));
    EXPECT_NE(read_file("/proc/self/mountinfo").find(scratch_ + "/disk"), std::string::npos);
  }
  EXPECT_FALSE(is_attached(device));
  EXPECT_EQ(read_file("/proc/self/mountinfo").find(scratch_ + "/disk"), std::string::npos);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

/// Whatever it dies of, in the midst of whatever: here with a file system on the disk that has much
/// to write back.
TEST_F(RecordedDiskTest, LeavesNothingWhenItsOwnerIsKilled) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // the server becomes a child of ours
  for (const bool busy : {false, true}) {
    int told[2];
    ASSERT_EQ(pipe2(told, O_CLOEXEC), 0);
    const pid_t owner = fork();
    if (owner == 0) {
      if (!enter_private_mounts()) _exit(1);
      const TestDisk disk = make_disk("owned");
      const std::string mounted = make_directory("mounted");
      if (!run("mkfs.ext4 -q " + disk.recorded.device() + " && mount " + disk.recorded.device() +
               " " + mounted + " && seq 1000000 > " + mounted + "/file")) {
        _exit(1);
      }
      const std::string name = disk.recorded.device();
      (void)!write(told[1], name.data(), name.size());
      while (!busy || run("seq 1000000 > " + mounted + "/file; sync " + mounted + "/file 2>&-")) {
        if (!busy) pause();
      }
      _exit(1);
    }
    close(told[1]);
    std::string device(64, '\0');
    const ssize_t length = read(told[0], device.data(), device.size());
    ASSERT_GT(length, 0);
    device.resize(static_cast<std::size_t>(length));
    close(told[0]);
    EXPECT_TRUE(is_attached(device));
    kill(owner, SIGKILL);
    // Its children are ours now, the server among them, and those that it ran end by themselves.
    EXPECT_TRUE(eventually([] { return waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; }));
    EXPECT_FALSE(is_attached(device));
  }
}

TEST_F(RecordedDiskTest, IsNotMovedByTheSignalsOfATerminal) {
  const TestDisk disk = make_disk();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ASSERT_EQ(kill(server(), number), 0);
  ASSERT_TRUE(write_direct(open_direct(disk).get(), 0, 4096, 'a'));
  EXPECT_EQ(collect(disk).requests.size(), 1u);
}

TEST_F(RecordedDiskTest, SaysWhyItCannotBe) {
  const UniqueFd image(memfd_create("disk-test", MFD_CLOEXEC));
  const auto disk = RecordedDisk::create(image.get(), scratch_ + "/nowhere");
  ASSERT_FALSE(disk.has_value());
  EXPECT_NE(disk.error().message.find("nowhere"), std::string::npos);
  EXPECT_EQ(disk.error().message.find('\n'), std::string::npos);
}

TEST_F(RecordedDiskTest, SaysWhatThisMachineLacks) {
  ASSERT_EQ(mount("/dev/null", "/dev/loop-control", nullptr, MS_BIND, nullptr), 0);
  EXPECT_TRUE(why_no_recorded_disk().starts_with("no loop devices: "));
  umount("/dev/loop-control");
  ASSERT_EQ(mount("tmpfs", "/dev", "tmpfs", 0, nullptr), 0);
  EXPECT_EQ(why_no_recorded_disk(), "no FUSE: /dev/fuse: No such file or directory");
  umount("/dev");
  EXPECT_EQ(why_no_recorded_disk(), "");

  const pid_t child = fork();
  if (child == 0) {
    const bool well = setuid(65534) == 0 && why_no_recorded_disk().starts_with("not root");
    _exit(well ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

/// Where /dev has no node for a loop device, as in a container.
TEST_F(RecordedDiskTest, DoesWithoutNodesInDev) {
  const std::string dev = make_directory("dev");
  ASSERT_EQ(mount("tmpfs", dev.c_str(), "tmpfs", 0, nullptr), 0);
  for (const std::string name : {"fuse", "loop-control", "null"}) {
    struct stat status;
    ASSERT_EQ(stat(("/dev/" + name).c_str(), &status), 0);
    ASSERT_EQ(mknod((dev + "/" + name).c_str(), S_IFCHR | 0600, status.st_rdev), 0);
  }
  ASSERT_EQ(mount(dev.c_str(), "/dev", nullptr, MS_BIND, nullptr), 0);
  {
    const TestDisk disk = make_disk();
    EXPECT_TRUE(disk.recorded.device().starts_with("/proc/"));
    const std::string mounted = make_directory("mounted");
    EXPECT_TRUE(run("mkfs.ext4 -q " + disk.recorded.device() + " && mount " +
                    disk.recorded.device() + " " + mounted + " && umount " + mounted));
    EXPECT_GT(collect(disk).requests.size(), 0u);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator("/dev"),
                          std::filesystem::directory_iterator()),
            3);
  umount("/dev");
}

}  // namespace
}  // namespace crashgate::faultinject
