// What the tests of recorded disks share: a private mount namespace with a scratch directory in it,
// disks, and direct I/O to them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>

#include "faultinject/disk/recorded_disk.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {

struct TestDisk {
  UniqueFd image;
  RecordedDisk recorded;
};

class DiskFixture : public testing::Test {
 protected:
  static constexpr std::uint64_t kDiskBytes = 64 << 20;
  static constexpr std::uint64_t kStampsOfAttaching = 2;

  void SetUp() override {
    if (const std::string reason = why_no_recorded_disk(); !reason.empty()) GTEST_SKIP() << reason;
    std::string name = "/tmp/disk_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    scratch_ = name;
    ASSERT_TRUE(enter_private_mounts());
  }
  void TearDown() override {
    if (scratch_.empty()) return;
    umount2(scratch_.c_str(), MNT_DETACH);
    rmdir(scratch_.c_str());
  }

  /// The scratch directory is then a file system of our own, and all in it goes with us.
  bool enter_private_mounts() const {
    return unshare(CLONE_NEWNS) == 0 &&
           mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           mount("tmpfs", scratch_.c_str(), "tmpfs", 0, "mode=700") == 0;
  }
  std::string make_directory(const std::string& name) const {
    const std::string path = scratch_ + "/" + name;
    std::filesystem::create_directory(path);
    return path;
  }

  tl::expected<TestDisk, TraceError> try_disk(const std::string& name,
                                              std::uint64_t log_bytes = 1 << 30) const {
    UniqueFd image(memfd_create("disk-test", MFD_CLOEXEC));
    if (!image || ftruncate(image.get(), kDiskBytes) != 0) {
      return tl::unexpected(TraceError{"memfd_create"});
    }
    auto disk = RecordedDisk::create(image.get(), make_directory(name), log_bytes);
    if (!disk) return tl::unexpected(disk.error());
    return TestDisk{std::move(image), std::move(*disk)};
  }
  TestDisk make_disk(const std::string& name = "disk", std::uint64_t log_bytes = 1 << 30) const {
    auto disk = try_disk(name, log_bytes);
    if (!disk) throw std::runtime_error(disk.error().message);
    return std::move(*disk);
  }
  /// Without the flush that the loop driver makes when it is attached.
  static BlockTrace collect(const TestDisk& disk) {
    auto trace = disk.recorded.collect();
    if (!trace) throw std::runtime_error(trace.error().message);
    EXPECT_EQ(trace->requests.at(0).kind, BlockRequestKind::kFlush);
    EXPECT_EQ(trace->requests.at(0).end, kStampsOfAttaching);
    trace->requests.erase(trace->requests.begin());
    return std::move(*trace);
  }
  static UniqueFd open_direct(const TestDisk& disk) {
    return UniqueFd(open(disk.recorded.device().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  }

  static bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

  static std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::string read_image(const TestDisk& disk) {
    std::string content(kDiskBytes, '\0');
    EXPECT_EQ(pread(disk.image.get(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    return content;
  }

  /// What has to come, without a word when it does; gives up after a while.
  static bool eventually(const std::function<bool()>& is_so) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!is_so()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      sched_yield();
    }
    return true;
  }

  /// Whether the loop device is over a file in the scratch directory: by the name that it had when
  /// it was attached, which the kernel keeps when its mount is gone.
  bool is_attached(const std::string& device) const {
    const UniqueFd opened(open(device.c_str(), O_RDONLY | O_CLOEXEC));
    loop_info64 info = {};
    if (ioctl(opened.get(), LOOP_GET_STATUS64, &info) != 0) return false;
    return std::string(reinterpret_cast<const char*>(info.lo_file_name))
        .starts_with(scratch_ + "/");
  }

  std::string scratch_;
};

/// Memory that direct I/O can be made from and to.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t size, char fill = 0)
      : size_(size),
        bytes_(static_cast<char*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096)),
               std::free) {
    std::memset(bytes_.get(), fill, size);
  }
  char* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<char, void (*)(void*)> bytes_;
};

inline bool write_direct(int fd, std::uint64_t offset, std::size_t size, char fill) {
  const AlignedBuffer buffer(size, fill);
  return pwrite(fd, buffer.data(), size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

}  // namespace crashgate::faultinject
