#include "harness/crash_state/micro_operation.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

/// "0-511" for data, "=512" for sizes, names for entries, in order.
std::vector<std::string> list(const Trace& trace, const Basis& basis = {}) {
  const MicroOperations all = lower(trace, basis);
  std::vector<std::string> result;
  for (const MicroOperation& operation : all.operations) {
    const Location& location = all.locations[operation.location];
    switch (operation.kind) {
      case LocationKind::kData:
        result.push_back(std::to_string(location.begin) + "-" + std::to_string(location.end - 1));
        break;
      case LocationKind::kSize:
        result.push_back("=" + std::to_string(operation.value.number));
        break;
      case LocationKind::kEntry:
        result.push_back(std::string(location.name) +
                         (operation.value.first == kNoFile ? " gone" : ""));
        break;
      default:
        result.emplace_back("attribute");
    }
  }
  return result;
}

using Lines = std::vector<std::string>;

Trace write_of(std::uint64_t offset, std::size_t length) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.write(file, offset, std::string(length, 'x'));
  return builder.finish();
}

TEST(MicroOperation, AWriteIsCutAtBlocksAndTorn) {
  EXPECT_EQ(list(write_of(0, 100)), (Lines{"0-511", "=100"}));
  EXPECT_EQ(list(write_of(0, 4096)), (Lines{"0-511", "=512", "512-4095", "=4096"}));
  EXPECT_EQ(list(write_of(0, 4096), {.tears = 0}), (Lines{"0-4095", "=4096"}));
  EXPECT_EQ(list(write_of(0, 2048), {.tears = 2}),
            (Lines{"0-511", "=512", "512-1023", "=1024", "1024-2047", "=2048"}));
  EXPECT_EQ(list(write_of(0, 1536), {.tears = 9}),
            (Lines{"0-511", "=512", "512-1023", "=1024", "1024-1535", "=1536"}));
  EXPECT_EQ(list(write_of(4000, 200), {.tears = 0}),
            (Lines{"3584-4095", "=4096", "4096-4607", "=4200"}));
}

TEST(MicroOperation, HolesTakeNoMemory) {
  constexpr std::uint64_t kFarApart = std::uint64_t{1} << 56;
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.truncate(file, 0);
  Trace trace = builder.finish();
  for (std::uint64_t at = 0; at < 20; ++at) {
    trace.initial.files[1].extents.push_back({at * kFarApart, trace.add_data("x")});
  }
  trace.initial.files[1].size = 20 * kFarApart;
  EXPECT_EQ(list(trace, {.tears = 0}), (Lines{"0-" + std::to_string(20 * kFarApart - 1), "=0"}));
}

TEST(MicroOperation, ALongWriteIsCutIntoRuns) {
  EXPECT_EQ(list(write_of(0, 4096 * 9), {.blocks = 4, .tears = 0}),
            (Lines{"0-4095", "=4096", "4096-20479", "=20480", "20480-32767", "=32768",
                   "32768-36863", "=36864"}));
  EXPECT_EQ(list(write_of(0, 4096 * 9), {.blocks = 1, .tears = 1}), (Lines{"0-36863", "=36864"}));
  EXPECT_EQ(list(write_of(0, 4096 * 3), {.blocks = 2, .tears = 0}),
            (Lines{"0-8191", "=8192", "8192-12287", "=12288"}));
  // The runs in the middle have 2 blocks and 1; the latter is torn as the first and the last are.
  EXPECT_EQ(
      list(write_of(0, 4096 * 5)),
      (Lines{"0-511", "=512", "512-4095", "=4096", "4096-12287", "=12288", "12288-12799", "=12800",
             "12800-16383", "=16384", "16384-16895", "=16896", "16896-20479", "=20480"}));
}

TEST(MicroOperation, WritesInOneSectorShareALocation) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, "ab");
  builder.start();
  builder.append(file, "cd");
  builder.write(file, 1, "X");
  const Trace trace = builder.finish();
  EXPECT_EQ(list(trace), (Lines{"0-511", "=4", "0-511"}));
  const MicroOperations all = lower(trace, {});
  EXPECT_EQ(all.operations[2].previous, 0U);
  std::string content;
  for (const ContentPiece& piece : all.contents_of(all.operations[2].value)) content += piece.bytes;
  EXPECT_EQ(content, "aXcd");
}

TEST(MicroOperation, Truncations) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, std::string(1000, 'x'));
  builder.start();
  builder.truncate(file, 600);
  builder.truncate(file, 600);  // changes nothing
  builder.truncate(file, 900);
  builder.open_truncating(file);
  // Zeros from 600 to 1000, then from 0 to 900: cut at sectors.
  EXPECT_EQ(list(builder.finish()), (Lines{"512-1023", "=600", "=900", "0-511", "512-1023", "=0"}));
}

TEST(MicroOperation, PunchZeroAndAllocate) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, std::string(8192, 'x'));
  builder.start();
  builder.fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2048, 1 << 20);
  builder.fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
  builder.fallocate(file, 0, 0, 9000);
  builder.fallocate(file, FALLOC_FL_ZERO_RANGE, 8192, 2048);
  EXPECT_EQ(list(builder.finish()), (Lines{"2048-2559", "2560-4095", "4096-4607", "4608-8191",
                                           "=9000", "8192-8703", "8704-10239", "=10240"}));
}

TEST(MicroOperation, Names) {
  TraceBuilder builder;
  builder.mkdir("d");
  builder.create("a");
  builder.rename("a", "d/b");
  builder.link("d/b", "c");
  builder.rename("c", "d/b");  // one file: nothing
  builder.unlink("c");
  builder.symlink("c", "s");
  builder.create("x");
  builder.rename("x", "s", RENAME_EXCHANGE);
  EXPECT_EQ(list(builder.finish()),
            (Lines{"d", "a", "b", "a gone", "c", "c gone", "s", "x", "s", "x"}));
}

TEST(MicroOperation, DataOfMsyncEndsWithTheFile) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, std::string(600, 'x'));
  builder.start();
  builder.msync(file, 0, std::string(600, 'y'));
  builder.last().data.length = 599;
  EXPECT_EQ(list(builder.finish(), {.tears = 0}), (Lines{"0-1023"}));
}

}  // namespace
}  // namespace crashgate::harness
