// A free device is asked for, opened, and only then taken: whoever takes it meanwhile makes
// LOOP_CONFIGURE fail with EBUSY, and the next free one is asked for (loop(4); util-linux does the
// same).
//
// Where /dev was filled once and for all, as in a container, new devices have no node there. Theirs
// is made beside, opened and removed at once, so that nothing stays: the descriptor stands for it.
#include "faultinject/disk/loop_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace crashgate::faultinject {
namespace {

constexpr char kControl[] = "/dev/loop-control";
constexpr unsigned kMajor = 7;          // Documentation/admin-guide/devices.txt
constexpr unsigned kSectorBytes = 512;  // at which writes may tear
/// Each time that a device is lost, somebody else has got it: this ends unless thousands compete.
constexpr int kAttempts = 4096;

tl::unexpected<TraceError> failure(const std::string& what) {
  return tl::unexpected(TraceError{what + ": " + std::strerror(errno)});
}

/// Empty: /dev cannot hold it. errno says why.
UniqueFd open_unnamed_node(unsigned number) {
  std::string directory = "/dev/crashgate.XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return {};
  const std::string node = directory + "/loop";
  UniqueFd device;
  if (mknod(node.c_str(), S_IFBLK | 0600, makedev(kMajor, number)) == 0) {
    device.reset(open(node.c_str(), O_RDWR | O_CLOEXEC));
  }
  const int error = errno;
  unlink(node.c_str());
  rmdir(directory.c_str());
  errno = error;
  return device;
}

}  // namespace

tl::expected<LoopDevice, TraceError> LoopDevice::attach(int file, bool direct) {
  const UniqueFd control(open(kControl, O_RDWR | O_CLOEXEC));
  if (!control) return failure(kControl);
  loop_config config = {};
  config.fd = static_cast<__u32>(file);
  config.block_size = kSectorBytes;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  if (direct) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  [[maybe_unused]] const ssize_t length =
      readlink(link.c_str(), reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);

  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return failure("no free loop device");
    std::string path = "/dev/loop" + std::to_string(number);
    UniqueFd device(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!device && errno == ENOENT) {
      device = open_unnamed_node(static_cast<unsigned>(number));
      path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(device.get());
    }
    if (!device && (errno == ENXIO || errno == EBUSY)) continue;  // just removed
    if (!device) return failure(path);
    if (ioctl(device.get(), LOOP_CONFIGURE, &config) != 0) {
      if (errno == EBUSY || errno == ENXIO) continue;
      return failure(path + ": cannot attach");
    }
    // The kernel does without direct I/O, silently, where the file cannot do it.
    loop_info64 info = {};
    if (ioctl(device.get(), LOOP_GET_STATUS64, &info) != 0) return failure(path);
    if (direct && (info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
      return tl::unexpected(TraceError{path + ": no direct I/O to its file"});
    }
    return LoopDevice(std::move(path), std::move(device));
  }
  return tl::unexpected(TraceError{"no loop device: others took each one that was free"});
}

tl::expected<void, TraceError> LoopDevice::forget_cached() {
  if (ioctl(fd_.get(), BLKFLSBUF) != 0) return failure(path_ + ": cannot drop its cache");
  return {};
}

std::string why_no_loop_devices() {
  if (geteuid() != 0) return "not root: loop devices cannot be attached";
  const UniqueFd file(memfd_create("crashgate-loop-trial", MFD_CLOEXEC));
  if (!file || ftruncate(file.get(), 1 << 20) != 0) return "no files in memory (memfd_create)";
  const auto device = LoopDevice::attach(file.get(), false);
  return device ? std::string() : "no loop devices: " + device.error().message;
}

}  // namespace crashgate::faultinject
