// How many requests a second does a recorded disk take?
//
//   recorded_disk_bench [Google Benchmark's options]
//
// A round writes blocks of 4 KiB with direct I/O to a new recorded disk, then to a new loop device
// over a file in memory (tmpfs). `per_s` and `peer_per_s` (the peer is the loop device) are blocks
// per second, `ratio` is the time on the recorded disk by that on the loop device. Rows:
//
//   write           one after the other
//   write_16        16 under way at once (io_submit), as a file system writes back
//   write_and_sync  each followed by an fsync of the device, so by a flush
//
// The recorded disk's blocks are in its log afterwards, or the row fails. Needs root, FUSE and loop
// devices; the output says what is missing.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "bench/benchmark_program.h"
#include "bench/comparison.h"
#include "faultinject/disk/loop_device.h"
#include "faultinject/disk/recorded_disk.h"
#include "harness/plan/scratch_directory.h"

namespace {

using namespace crashgate;
using faultinject::UniqueFd;

constexpr std::uint64_t kDiskBytes = 64 << 20;
constexpr std::size_t kBlockBytes = 4096;
constexpr std::size_t kBlocks = 4096;
constexpr std::size_t kUnderWay = 16;

struct Pattern {
  const char* name;
  std::size_t blocks;
  std::size_t under_way;
  bool syncs;
};
constexpr std::array<Pattern, 3> kPatterns = {{
    {"write", kBlocks, 1, false},
    {"write_16", kBlocks, kUnderWay, false},
    {"write_and_sync", kBlocks / 4, 1, true},
}};

struct FreeDeleter {
  void operator()(char* bytes) const { std::free(bytes); }
};

/// Blocks 0, 2, 4 ...: neighbours would be merged into one request.
bool write_blocks(int device, const Pattern& pattern) {
  const std::unique_ptr<char, FreeDeleter> block(
      static_cast<char*>(std::aligned_alloc(kBlockBytes, kBlockBytes)));
  std::fill_n(block.get(), kBlockBytes, 'x');
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, kUnderWay, &context) != 0) return false;
  bool well = true;
  for (std::size_t i = 0; i < pattern.blocks && well; i += pattern.under_way) {
    std::array<iocb, kUnderWay> writes = {};
    std::array<iocb*, kUnderWay> submitted = {};
    for (std::size_t j = 0; j < pattern.under_way; ++j) {
      writes[j].aio_lio_opcode = IOCB_CMD_PWRITE;
      writes[j].aio_fildes = static_cast<std::uint32_t>(device);
      writes[j].aio_buf = reinterpret_cast<std::uint64_t>(block.get());
      writes[j].aio_nbytes = kBlockBytes;
      writes[j].aio_offset = static_cast<std::int64_t>((i + j) * 2 * kBlockBytes);
      submitted[j] = &writes[j];
    }
    std::array<io_event, kUnderWay> events;
    const auto count = static_cast<long>(pattern.under_way);
    well = syscall(SYS_io_submit, context, count, submitted.data()) == count &&
           syscall(SYS_io_getevents, context, count, count, events.data(), nullptr) == count;
    for (std::size_t j = 0; j < pattern.under_way; ++j) well &= events[j].res == kBlockBytes;
    if (pattern.syncs) well &= fsync(device) == 0;
  }
  syscall(SYS_io_destroy, context);
  return well;
}

std::optional<double> seconds_per_block(const std::string& path, const Pattern& pattern) {
  const UniqueFd device(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  const auto start = std::chrono::steady_clock::now();
  if (!device || !write_blocks(device.get(), pattern)) return std::nullopt;
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / static_cast<double>(pattern.blocks);
}

UniqueFd empty_image() {
  UniqueFd image(memfd_create("recorded-disk-bench", MFD_CLOEXEC));
  if (image && ftruncate(image.get(), kDiskBytes) != 0) image.reset();
  return image;
}

std::optional<double> on_recorded_disk(const std::string& mount_point, const Pattern& pattern) {
  const UniqueFd image = empty_image();
  const auto disk = faultinject::RecordedDisk::create(image.get(), mount_point);
  if (!disk) return std::nullopt;
  const auto seconds = seconds_per_block(disk->device(), pattern);
  const auto trace = disk->collect();
  if (!trace || trace->bytes.size() != pattern.blocks * kBlockBytes) return std::nullopt;
  return seconds;
}

std::optional<double> on_loop_device(const Pattern& pattern) {
  const UniqueFd image = empty_image();
  const auto device = faultinject::LoopDevice::attach(image.get(), false);
  if (!device) return std::nullopt;
  return seconds_per_block(device->path(), pattern);
}

void against_loop_device(benchmark::State& state, const Pattern& pattern,
                         const std::string& mount_point) {
  bench::compare(
      state, [&] { return on_recorded_disk(mount_point, pattern); },
      [&] { return on_loop_device(pattern); });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_in_scratch_directory(argc, argv, [](const std::string& directory) {
    if (const std::string reason = faultinject::why_no_recorded_disk(); !reason.empty()) {
      benchmark::AddCustomContext("left out", reason);
    } else if (unshare(CLONE_NEWNS) == 0 &&
               mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) {
      for (const Pattern& pattern : kPatterns) {
        benchmark::RegisterBenchmark(pattern.name, &against_loop_device, pattern, directory)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  });
}
