// The recorded disk held against a recorder that knows nothing of it: the tracepoints of the
// kernel's block layer, above the loop driver.
//
// Two sequences of requests, each with both ends: the block layer's (issue, complete) and the
// log's (begin, end). A request reaches the server after it was issued, and is completed after it
// was answered. So whatever was complete before a flush was issued must have ended before that
// flush began: this holds without any luck. The other way round is what crash states rely on;
// there, a write that is answered while a flush is on its way makes an exception, and these are
// counted.
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <sstream>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/faultinject/disk_fixture.h"

namespace crashgate::faultinject {
namespace {

struct LayerRequest {
  BlockRequestKind kind = BlockRequestKind::kWrite;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t begin = 0;  // positions in the block layer's trace, from 1
  std::uint64_t end = 0;
};

/// From the letters that the tracepoints have for a request (blk_fill_rwbs() in the kernel's
/// blktrace.c); none: it reads.
std::optional<BlockRequestKind> kind_of(std::string_view letters) {
  const bool has_preflush = letters.size() > 1 && letters[0] == 'F' &&
                            (letters[1] == 'W' || letters[1] == 'D' || letters[1] == 'F');
  if (has_preflush) letters.remove_prefix(1);
  if (letters.starts_with("WZ") || letters[0] == 'N') return BlockRequestKind::kZeroOut;
  if (letters[0] == 'W') return BlockRequestKind::kWrite;
  if (letters[0] == 'D') return BlockRequestKind::kDiscard;
  if (letters[0] == 'F') return BlockRequestKind::kFlush;
  return std::nullopt;
}

class BlockLayerTest : public DiskFixture {
 protected:
  void SetUp() override {
    DiskFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const std::string tracing = make_directory("tracing");
    if (mount("tracefs", tracing.c_str(), "tracefs", 0, nullptr) != 0) {
      GTEST_SKIP() << "no tracefs: " << std::strerror(errno);
    }
    const std::string instance = tracing + "/instances/crashgate-test-" + std::to_string(getpid());
    if (mkdir(instance.c_str(), 0700) != 0) {
      GTEST_SKIP() << "no tracing instance: " << std::strerror(errno);
    }
    instance_ = instance;
    put("trace_clock", "counter");
    put("buffer_size_kb", "8192");
  }
  void TearDown() override {
    if (!instance_.empty()) {
      EXPECT_EQ(rmdir(instance_.c_str()), 0) << std::strerror(errno);
    }
    DiskFixture::TearDown();
  }

  void put(const std::string& file, const std::string& text) const {
    std::ofstream out(instance_ + "/" + file);
    EXPECT_TRUE(out << text << std::flush) << file;
  }
  void start_tracing(const TestDisk& disk) const {
    struct stat status;
    ASSERT_EQ(stat(disk.recorded.device().c_str(), &status), 0);
    const auto kernel_number = std::uint64_t{major(status.st_rdev)} << 20 | minor(status.st_rdev);
    for (const std::string event :
         {"events/block/block_rq_issue", "events/block/block_rq_complete"}) {
      put(event + "/filter", "dev == " + std::to_string(kernel_number));
      put(event + "/enable", "1");
    }
  }
  /// In the order of issue.
  std::vector<LayerRequest> stop_tracing() const {
    put("tracing_on", "0");
    std::vector<LayerRequest> requests;
    std::istringstream lines(read_file(instance_ + "/trace"));
    std::uint64_t position = 0;
    for (std::string line; std::getline(lines, line);) {
      const bool issues = line.find(" block_rq_issue: ") != std::string::npos;
      const std::size_t at = line.find(issues ? "block_rq_issue: " : "block_rq_complete: ");
      if (line[0] == '#' || at == std::string::npos) continue;
      std::istringstream words(line.substr(at));
      std::string name, device, letters;
      words >> name >> device >> letters;
      const auto kind = kind_of(letters);
      if (!kind) continue;
      std::istringstream range(line.substr(line.find(") ") + 2));
      LayerRequest request{*kind};
      std::string plus;
      range >> request.offset >> plus >> request.length;
      if (*kind == BlockRequestKind::kFlush) {
        request.offset = request.length = 0;
      } else if (request.length == 0) {
        continue;  // what asked for a flush is told that it is done
      }
      request.offset *= 512;
      request.length *= 512;
      ++position;
      if (issues) {
        request.begin = position;
        requests.push_back(request);
        continue;
      }
      const auto begun = std::ranges::find_if(requests, [&](const LayerRequest& each) {
        return each.end == 0 && each.kind == request.kind && each.offset == request.offset;
      });
      EXPECT_NE(begun, requests.end()) << line;
      if (begun != requests.end()) begun->end = position;
    }
    return requests;
  }

  std::string instance_;
};

using Key = std::tuple<BlockRequestKind, std::uint64_t, std::uint64_t>;

template <typename Request>
Key key_of(const Request& request) {
  return {request.kind, request.offset, request.length};
}

std::vector<BlockRequest> since(const BlockTrace& trace, std::uint64_t stamp) {
  std::vector<BlockRequest> requests;
  for (const BlockRequest& request : trace.requests) {
    if (request.begin > stamp) requests.push_back(request);
  }
  return requests;
}

TEST_F(BlockLayerTest, IssuesWhatIsLoggedInTheSameOrder) {
  const TestDisk disk = make_disk();
  const UniqueFd device = open_direct(disk);
  const std::uint64_t stamp = disk.recorded.stamp();
  start_tracing(disk);
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(write_direct(device.get(), (i * 37 % 50) * 65536, 4096 << i % 4, 'a'));
    std::array<std::uint64_t, 2> range = {i * 65536, 4096};
    ASSERT_TRUE(i % 3 != 0 || fsync(device.get()) == 0);
    ASSERT_TRUE(i % 7 != 0 || ioctl(device.get(), BLKDISCARD, range.data()) == 0);
    ASSERT_TRUE(i % 11 != 0 || ioctl(device.get(), BLKZEROOUT, range.data()) == 0);
  }
  std::vector<Key> issued;
  for (const LayerRequest& request : stop_tracing()) issued.push_back(key_of(request));
  std::vector<Key> logged;
  for (const BlockRequest& request : since(collect(disk), stamp)) {
    logged.push_back(key_of(request));
  }
  EXPECT_EQ(issued.size(), 50u + 17 + 8 + 5);
  EXPECT_EQ(issued, logged);
}

/// Whoever sees a flush in one of them must find it in the same place in the other.
void compare(const std::vector<LayerRequest>& issued, const std::vector<BlockRequest>& logged) {
  // The same requests; of equal ones, the first in one is the first in the other.
  std::map<Key, std::vector<const LayerRequest*>> by_key;
  for (const LayerRequest& request : issued) by_key[key_of(request)].push_back(&request);
  ASSERT_EQ(issued.size(), logged.size());
  std::map<Key, std::size_t> seen;
  std::vector<std::pair<const LayerRequest*, const BlockRequest*>> pairs;
  for (const BlockRequest& request : logged) {
    const auto& candidates = by_key[key_of(request)];
    const std::size_t index = seen[key_of(request)]++;
    ASSERT_LT(index, candidates.size()) << request.length << " at " << request.offset;
    pairs.emplace_back(candidates[index], &request);
  }

  std::size_t flushes = 0;
  std::size_t ordered = 0;
  std::size_t ordered_in_log_only = 0;
  for (const auto& [issued_flush, logged_flush] : pairs) {
    if (logged_flush->kind != BlockRequestKind::kFlush) continue;
    ++flushes;
    for (const auto& [issued_write, logged_write] : pairs) {
      if (logged_write->kind == BlockRequestKind::kFlush) continue;
      const bool before_in_layer = issued_write->end < issued_flush->begin;
      const bool before_in_log = logged_write->end < logged_flush->begin;
      EXPECT_LE(before_in_layer, before_in_log)
          << logged_write->length << " at " << logged_write->offset;
      ordered += before_in_layer;
      ordered_in_log_only += before_in_log && !before_in_layer;
    }
  }
  EXPECT_GE(flushes, 32u);
  EXPECT_GT(ordered, 0u);
  std::cout << flushes << " flushes; of " << ordered + ordered_in_log_only
            << " pairs of a write that ended before a flush began, " << ordered_in_log_only
            << " were not complete when the block layer issued the flush\n";
}

/// A file system under several writers that sync.
TEST_F(BlockLayerTest, FlushesStandWhereTheLogHasThem) {
  const TestDisk disk = make_disk();
  const std::string device = disk.recorded.device();
  const std::string mounted = make_directory("mounted");
  ASSERT_TRUE(run("mkfs.ext4 -q " + device + " && mount " + device + " " + mounted));
  ASSERT_TRUE(run("sync -f " + mounted));
  const std::uint64_t stamp = disk.recorded.stamp();
  start_tracing(disk);
  ASSERT_TRUE(run("cd " + mounted +
                  " && for writer in 1 2 3 4; do ("
                  "  for i in 1 2 3 4 5 6 7 8; do"
                  "    seq $i 3000 > $writer.$i; sync $writer.$i; mv $writer.$i $writer;"
                  "  done) & done; wait; sync -f ."));
  ASSERT_EQ(umount(mounted.c_str()), 0);
  const std::vector<LayerRequest> issued = stop_tracing();
  compare(issued, since(collect(disk), stamp));
}

/// Flushes in the midst of writes that nobody waits for.
TEST_F(BlockLayerTest, FlushesStandBetweenTheWritesOfOthers) {
  const TestDisk disk = make_disk();
  const UniqueFd device = open_direct(disk);
  const std::uint64_t stamp = disk.recorded.stamp();
  start_tracing(disk);
  std::vector<std::thread> writers;
  for (std::uint64_t writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      for (std::uint64_t i = 0; i < 500; ++i) {
        EXPECT_TRUE(write_direct(device.get(), (i * 4 + writer) * 8192, 4096, 'a'));
      }
    });
  }
  for (int i = 0; i < 200; ++i) EXPECT_EQ(fsync(device.get()), 0);
  for (std::thread& writer : writers) writer.join();
  const std::vector<LayerRequest> issued = stop_tracing();
  compare(issued, since(collect(disk), stamp));
}

}  // namespace
}  // namespace crashgate::faultinject
