// States made on a loop device against a naive replay of the log, byte by byte, whatever was done
// to the device in between.
#include "harness/disk/disk_materializer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <rapidcheck.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "faultinject/disk/loop_device.h"
#include "harness/disk/data_ranges.h"
#include "harness/disk/file_system.h"
#include "harness/plan/scratch_directory.h"
#include "tests/disk/isolated.h"

namespace crashgate::harness {
namespace {

using faultinject::BlockRequest;
using faultinject::BlockRequestKind;
using faultinject::BlockTrace;

constexpr std::uint64_t kSector = 512;

/// A disk's pages that are not zeros, by offset.
using Pages = std::map<std::uint64_t, std::string>;

Pages pages_of(int file, std::uint64_t size) {
  Pages pages;
  std::string page(kPageBytes, '\0');
  for (std::uint64_t at = 0; at < size; at += kPageBytes) {
    const off_t data = ::lseek(file, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a block device knows no holes
    if (data >= 0) at = static_cast<std::uint64_t>(data) / kPageBytes * kPageBytes;
    EXPECT_EQ(::pread(file, page.data(), page.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(kPageBytes));
    if (!is_zero(page.data(), page.size())) pages[at] = page;
  }
  return pages;
}

/// Read through the block device, as a file system would.
Pages device_content(const DiskMaterializer& materializer) {
  const UniqueFd device(::open(materializer.device().c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_GE(device.get(), 0);
  return pages_of(device.get(), materializer.image().size_bytes());
}

Pages naive_replay(Pages disk, const BlockTrace& trace, const std::vector<DiskPiece>& pieces,
                   const DiskState& state) {
  for (std::uint32_t index = 0; index < pieces.size(); ++index) {
    const DiskPiece& piece = pieces[index];
    const BlockRequest& request = trace.requests[piece.request];
    if (request.begin > state.stamp || std::ranges::binary_search(state.lost, index)) continue;
    for (std::uint64_t at = piece.offset; at < piece.offset + piece.length; at += kSector) {
      std::string& page = disk[at / kPageBytes * kPageBytes];
      page.resize(kPageBytes, '\0');
      page.replace(at % kPageBytes, kSector,
                   request.kind == BlockRequestKind::kWrite
                       ? std::string(trace.data(request).substr(at - request.offset, kSector))
                       : std::string(kSector, '\0'));
    }
  }
  std::erase_if(disk, [](const auto& page) { return is_zero(page.second.data(), kPageBytes); });
  return disk;
}

/// Requests in [begin, end) of the disk, one after the other, and none flushed.
BlockTrace random_trace(std::mt19937_64& random, std::uint64_t begin, std::uint64_t end,
                        std::size_t count) {
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  BlockTrace trace;
  const std::uint64_t sectors = (end - begin) / kSector;
  for (std::size_t index = 0; index < count; ++index) {
    BlockRequest request;
    request.kind = below(4) == 0
                       ? (below(2) == 0 ? BlockRequestKind::kDiscard : BlockRequestKind::kZeroOut)
                       : BlockRequestKind::kWrite;
    request.begin = ++trace.last_stamp;
    request.end = ++trace.last_stamp;
    const std::uint64_t first = below(sectors);
    const std::uint64_t length = std::min(sectors - first, 1 + below(below(3) == 0 ? 100 : 9));
    // Half of them whole pages.
    const std::uint64_t unit = below(2) == 0 ? 1 : 8;
    request.offset = begin + first / unit * unit * kSector;
    request.length = std::min(end - request.offset, (length + unit - 1) / unit * unit * kSector);
    if (request.kind == BlockRequestKind::kWrite) {
      request.data = trace.bytes.size();
      for (std::uint64_t at = 0; at < request.length; at += kSector)
        trace.bytes.append(kSector, below(3) == 0 ? '\0' : static_cast<char>(random()));
    }
    trace.requests.push_back(request);
  }
  return trace;
}

class Materializer : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = faultinject::why_no_loop_devices(); !why.empty()) GTEST_SKIP() << why;
  }
};

/// Everything that a stranger may do to a device, flushed or not.
void scribble(std::mt19937_64& random, const std::string& path, std::uint64_t size) {
  const UniqueFd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_GE(device.get(), 0);
  for (std::uint64_t count = random() % 12; count > 0; --count) {
    const std::uint64_t offset = random() % size / kSector * kSector;
    const std::uint64_t length = std::min(size - offset, (1 + random() % 64) * kSector);
    std::uint64_t range[] = {offset, length};
    switch (random() % 4) {
      case 0:
        ASSERT_EQ(::ioctl(device.get(), BLKDISCARD, range), 0);
        break;
      case 1:
        ASSERT_EQ(::ioctl(device.get(), BLKZEROOUT, range), 0);
        break;
      default: {
        const std::string bytes(length, random() % 4 == 0 ? '\0' : static_cast<char>(random()));
        ASSERT_EQ(::pwrite(device.get(), bytes.data(), length, static_cast<off_t>(offset)),
                  static_cast<ssize_t>(length));
      }
    }
    if (random() % 8 == 0) {
      ASSERT_EQ(::fsync(device.get()), 0);
    }
  }
}

TEST_F(Materializer, MakesWhatANaiveReplayMakesWhateverWasWrittenBefore) {
  EXPECT_TRUE(rc::check([] {
    constexpr std::uint64_t kSize = 256 * 4096;
    std::mt19937_64 random(*rc::gen::arbitrary<std::uint64_t>());
    auto base = DiskImage::create(kSize);
    RC_ASSERT(base.has_value());
    for (int count = 0; count < 20; ++count) {
      const std::string bytes((1 + random() % 8) * 1000, static_cast<char>(random()));
      const std::uint64_t offset = random() % (kSize - bytes.size());
      RC_ASSERT(::pwrite(base->fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) > 0);
    }
    const Pages before = pages_of(base->fd(), kSize);
    const BlockTrace trace = random_trace(random, 0, kSize, 1 + random() % 20);
    DiskStateEnumerator enumerator(trace, 0, {}, {.seed = random(), .state_limit = 40});
    auto materializer = DiskMaterializer::create(*base, trace, enumerator.pieces());
    RC_ASSERT(materializer.has_value());
    while (const DiskState* state = enumerator.next()) {
      if (random() % 4 != 0) continue;
      const auto made = materializer->make(*state);
      RC_ASSERT(made.has_value());
      const Pages expected = naive_replay(before, trace, enumerator.pieces(), *state);
      RC_ASSERT((pages_of(materializer->image().fd(), kSize) == expected) == true);
      RC_ASSERT((device_content(*materializer) == expected) == true);
      scribble(random, materializer->device(), kSize);
    }
    RC_ASSERT((pages_of(base->fd(), kSize) == before) == true);
  }));
}

class MountedMaterializer : public Materializer, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, MountedMaterializer, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& instance) { return instance.param; });

void take_back_what_mounts_write(const FileSystemChoice& choice) {
  const auto base = make_file_system(choice);
  ASSERT_TRUE(base) << to_string(base.error());
  const auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch);
  // At the end of the disk, where these file systems have nothing yet.
  std::mt19937_64 random(7);
  const std::uint64_t size = base->size_bytes();
  const BlockTrace trace = random_trace(random, size - (2 << 20), size, 12);
  DiskStateEnumerator enumerator(trace, 0, {}, {.state_limit = 12});
  auto materializer = DiskMaterializer::create(*base, trace, enumerator.pieces());
  ASSERT_TRUE(materializer) << to_string(materializer.error());
  const Pages before = pages_of(base->fd(), size);
  while (const DiskState* state = enumerator.next()) {
    const auto made = materializer->make(*state);
    ASSERT_TRUE(made) << to_string(made.error());
    const Pages expected = naive_replay(before, trace, enumerator.pieces(), *state);
    ASSERT_TRUE(pages_of(materializer->image().fd(), size) == expected);
    auto mount = Mount::create(choice, materializer->device(), scratch->path());
    ASSERT_TRUE(mount) << to_string(mount.error());
    EXPECT_FALSE(materializer->make(*state)) << "it is mounted";
    std::ofstream(scratch->path() + "/file") << std::string(random() % 3'000'000, 'x');
    ASSERT_EQ(::mkdir((scratch->path() + "/directory").c_str(), 0755), 0);
    if (random() % 2 == 0) {
      const UniqueFd root(::open(scratch->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      fstrim_range all{0, UINT64_MAX, 0};
      ASSERT_EQ(::syncfs(root.get()), 0);
      ASSERT_EQ(::ioctl(root.get(), FITRIM, &all), 0);
    }
    const auto unmounted = mount->unmount();
    ASSERT_TRUE(unmounted) << to_string(unmounted.error());
    EXPECT_FALSE(pages_of(materializer->image().fd(), size) == expected);
  }
  EXPECT_EQ(enumerator.states_given(), 12U);
}

TEST_P(MountedMaterializer, TakesBackWhatAMountWrote) {
  FileSystemChoice choice{.file_system = find_file_system(GetParam())};
  if (const auto why = why_no_file_system(*choice.file_system); !why.empty()) GTEST_SKIP() << why;
  choice.size_bytes = std::uint64_t{320} << 20;
  isolated([&] { take_back_what_mounts_write(choice); });
}

/// Whether that loop device has this file (by its inode) attached.
bool is_attached(const std::string& device, ino_t inode) {
  const UniqueFd file(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  loop_info64 info = {};
  return ::ioctl(file.get(), LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == inode;
}

/// What a child tells of itself.
struct Told {
  char device[64] = {};
  ino_t inode = 0;
};

/// Mounts a state, tells about it, and waits to be killed.
void mount_and_wait(const FileSystemChoice& choice, const std::string& place, int answer) {
  const auto entered = enter_mount_namespace();
  const auto base = make_file_system(choice);
  if (!entered || !base) return;
  const BlockTrace trace;
  DiskStateEnumerator enumerator(trace, 0, {}, {});
  auto materializer = DiskMaterializer::create(*base, trace, enumerator.pieces());
  if (!materializer || !materializer->make(*enumerator.next())) return;
  const auto mount = Mount::create(choice, materializer->device(), place);
  if (!mount) return;
  Told told;
  struct stat status {};
  ::fstat(materializer->image().fd(), &status);
  told.inode = status.st_ino;
  materializer->device().copy(told.device, sizeof told.device - 1);
  if (::write(answer, &told, sizeof told) == sizeof told) ::pause();
}

TEST_P(MountedMaterializer, NothingIsLeftOfAKilledProcess) {
  const FileSystemChoice choice{.file_system = find_file_system(GetParam())};
  if (const auto why = why_no_file_system(*choice.file_system); !why.empty()) GTEST_SKIP() << why;
  const auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    mount_and_wait(choice, scratch->path(), ends[1]);
    ::_exit(1);
  }
  ::close(ends[1]);
  Told told;
  const auto count = ::read(ends[0], &told, sizeof told);
  ::close(ends[0]);
  EXPECT_TRUE(count != sizeof told || is_attached(told.device, told.inode));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_EQ(count, static_cast<ssize_t>(sizeof told)) << "it could not mount";
  // The kernel ends the mount namespace in a worker of its own.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (is_attached(told.device, told.inode) && std::chrono::steady_clock::now() < deadline)
    ::usleep(1000);
  EXPECT_FALSE(is_attached(told.device, told.inode));
}

}  // namespace
}  // namespace crashgate::harness
