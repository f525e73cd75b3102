// What calls make of a file, against the same done to a plain string; and files with far more hole
// than memory.
#include "faultinject/trace_explanation.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <random>

namespace crashgate::faultinject {
namespace {

constexpr FileId kFile = 2;

Snapshot tree_with(Trace& trace, std::uint64_t size, std::string_view content) {
  Snapshot snapshot;
  snapshot.files.push_back({kRootFile, S_IFDIR | 0755, 0, 0, 0, {}, "", {}, {{"f", kFile}}});
  snapshot.files.push_back(
      {kFile, S_IFREG | 0644, 0, 0, size, {{0, trace.add_data(content)}}, "", {}, {}});
  return snapshot;
}

TraceEvent allocation(int mode, std::uint64_t offset, std::uint64_t length) {
  TraceEvent event;
  event.row = Row::k_fallocate;
  event.file = kFile;
  event.flags = static_cast<std::uint64_t>(mode);
  event.offset = offset;
  event.length = length;
  return event;
}

/// What the kernel does, on a string.
void change_string(const TraceEvent& event, std::string& content) {
  if (event.flags == FALLOC_FL_COLLAPSE_RANGE) {
    content.erase(event.offset, event.length);
  } else if (event.flags == FALLOC_FL_INSERT_RANGE) {
    content.insert(event.offset, event.length, '\0');
  } else if (event.offset < content.size()) {
    const std::uint64_t length = std::min(event.length, content.size() - event.offset);
    content.replace(event.offset, length, length, '\0');
  }
}

TEST(TraceExplanation, RangesAreWhatTheyAreOfAString) {
  const unsigned seed = 20261125;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  for (int round = 0; round < 500; ++round) {
    std::string content(1 + below(20000), '\0');
    for (char& byte : content) byte = static_cast<char>('a' + below(26));
    Trace trace;
    trace.initial = tree_with(trace, content.size(), content);
    for (std::uint64_t step = 0; step <= below(4); ++step) {
      // Blocks of 512 bytes: there are file systems with blocks that small.
      constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      TraceEvent event = allocation(kPunch, below(24000), 1 + below(9000));
      const std::uint64_t at = below(content.size()) / 512 * 512;
      const std::uint64_t length = 512 * (1 + below(9));
      if (below(3) == 0) event = allocation(FALLOC_FL_INSERT_RANGE, at, length);
      if (below(3) == 0 && at + length < content.size())
        event = allocation(FALLOC_FL_COLLAPSE_RANGE, at, length);
      change_string(event, content);
      trace.events.push_back(event);
    }
    trace.final = tree_with(trace, content.size(), content);
    ASSERT_EQ(unexplained_by(trace), std::vector<std::string>{}) << "round " << round;
    ++trace.final.files[1].size;
    ASSERT_EQ(unexplained_by(trace).size(), 1u) << "round " << round;
  }
}

TEST(TraceExplanation, ARangeBeyondTheEndIsNothing) {
  Trace trace;
  trace.initial = tree_with(trace, 5, "12345");
  trace.events.push_back(allocation(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 200, 300));
  trace.final = trace.initial;
  EXPECT_EQ(unexplained_by(trace), std::vector<std::string>{});
}

TEST(TraceExplanation, HolesTakeNoMemory) {
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;
  Trace trace;
  trace.initial = tree_with(trace, kHuge, "12345");
  trace.events.push_back(allocation(FALLOC_FL_INSERT_RANGE, 4096, 4096));
  trace.events.push_back(allocation(FALLOC_FL_COLLAPSE_RANGE, 8192, kHuge / 2));
  trace.events.push_back(allocation(FALLOC_FL_ZERO_RANGE, 8192, kHuge));
  trace.final = tree_with(trace, kHuge + 8192, "12345");
  EXPECT_EQ(unexplained_by(trace), std::vector<std::string>{});
}

TEST(TraceExplanation, ACircleEnds) {
  Trace trace;
  trace.initial = tree_with(trace, 5, "12345");
  trace.final = trace.initial;
  TraceEvent event;
  event.row = Row::k_mkdir;
  event.created = true;
  event.file = 3;
  event.mode = S_IFDIR | 0755;
  event.name = {kRootFile, "d"};
  trace.events.push_back(event);
  event.row = Row::k_rename;
  event.created = false;
  for (const char* name : {"p", "q"}) {
    event.name2 = {3, name};
    trace.events.push_back(event);
  }
  event.name2 = {kRootFile, "r"};
  trace.events.push_back(event);
  EXPECT_EQ(unexplained_by(trace).size(), 3u);  // r, and what it holds twice
}

}  // namespace
}  // namespace crashgate::faultinject
