#include "faultinject/disk/loop_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

namespace crashgate::faultinject {
namespace {

class LoopDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_loop_devices(); !reason.empty()) GTEST_SKIP() << reason;
  }
  static UniqueFd file_in_memory() {
    UniqueFd file(memfd_create("loop-test", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file.get(), 1 << 20), 0);
    return file;
  }
  static std::string sector(int fd) {
    std::string bytes(512, '\0');
    EXPECT_EQ(pread(fd, bytes.data(), bytes.size(), 4096), 512);
    return bytes;
  }
};

TEST_F(LoopDeviceTest, ShowsItsFile) {
  const UniqueFd file = file_in_memory();
  const std::string text(512, 'x');
  ASSERT_EQ(pwrite(file.get(), text.data(), text.size(), 4096), 512);
  auto device = LoopDevice::attach(file.get(), false);
  ASSERT_TRUE(device.has_value()) << device.error().message;
  const UniqueFd opened(open(device->path().c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(sector(opened.get()), text);
  EXPECT_EQ(lseek(opened.get(), 0, SEEK_END), 1 << 20);
}

TEST_F(LoopDeviceTest, ForgetsWhatTheKernelHasCached) {
  const UniqueFd file = file_in_memory();
  auto device = LoopDevice::attach(file.get(), false);
  ASSERT_TRUE(device.has_value()) << device.error().message;
  EXPECT_EQ(sector(device->fd()), std::string(512, '\0'));
  const std::string text(512, 'y');
  ASSERT_EQ(pwrite(file.get(), text.data(), text.size(), 4096), 512);
  EXPECT_EQ(sector(device->fd()), std::string(512, '\0'));  // else there is nothing to forget
  ASSERT_TRUE(device->forget_cached().has_value());
  EXPECT_EQ(sector(device->fd()), text);
}

TEST_F(LoopDeviceTest, IsDetachedByItsLastUser) {
  const UniqueFd file = file_in_memory();
  UniqueFd opened;
  std::string path;
  {
    const auto device = LoopDevice::attach(file.get(), false);
    ASSERT_TRUE(device.has_value()) << device.error().message;
    path = device->path();
    opened.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  loop_info64 info = {};
  ASSERT_EQ(ioctl(opened.get(), LOOP_GET_STATUS64, &info), 0);
  const auto file_behind = std::pair(info.lo_device, info.lo_inode);
  opened.reset();
  // It may be somebody else's by now.
  opened.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (ioctl(opened.get(), LOOP_GET_STATUS64, &info) == 0) {
    EXPECT_NE(std::pair(info.lo_device, info.lo_inode), file_behind);
  }
}

TEST_F(LoopDeviceTest, MayBeAttachedByManyAtOnce) {
  std::vector<pid_t> children;
  int go[2];
  ASSERT_EQ(pipe2(go, O_CLOEXEC), 0);
  for (int i = 0; i < 8; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      close(go[1]);
      char never;
      (void)!read(go[0], &never, 1);  // until the parent has closed its end
      bool well = true;
      for (int round = 0; round < 20; ++round) {
        const UniqueFd file = file_in_memory();
        const std::string mark(512, static_cast<char>('a' + i));
        well &= pwrite(file.get(), mark.data(), mark.size(), 4096) == 512;
        const auto device = LoopDevice::attach(file.get(), false);
        well &= device.has_value() && sector(device->fd()) == mark;
      }
      _exit(well ? 0 : 1);
    }
    children.push_back(child);
  }
  close(go[0]);
  close(go[1]);
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(LoopDeviceTest, SaysWhatIsWrong) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const auto device = LoopDevice::attach(ends[0], false);
  ASSERT_FALSE(device.has_value());
  EXPECT_NE(device.error().message.find("cannot attach"), std::string::npos);
  EXPECT_EQ(device.error().message.find('\n'), std::string::npos);
  close(ends[0]);
  close(ends[1]);
}

TEST(NoLoopDevice, IsSaidToWhoeverIsNotRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "not root, who could become somebody else";
  const pid_t child = fork();
  if (child == 0) {
    const bool well = setuid(65534) == 0 && why_no_loop_devices().starts_with("not root");
    _exit(well ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace crashgate::faultinject
