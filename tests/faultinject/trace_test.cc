#include "faultinject/trace.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace crashgate::faultinject {
namespace {

namespace fs = std::filesystem;

class TraceFile : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/dev/shm/trace_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/a.trace";
  }
  void TearDown() override { fs::remove_all(directory_); }

  static Trace sample() {
    Trace trace;
    trace.recorder = "ptrace";
    trace.directory = "/tmp/x";
    trace.command = {"sh", "-c", std::string("a\0b", 3)};
    trace.kernel = "6.1";
    trace.blind_spots = {"one", "two"};
    trace.initial.files.push_back({kRootFile, S_IFDIR | 0755, 1, 2, 0, {}, "", {}, {{"old", 2}}});
    const DataRef old = trace.add_data("old bytes");
    trace.initial.files.push_back(
        {2, S_IFREG | 0644, 3, 4, 1u << 20, {{4096, old}}, "", {{"user.a", "v"}}, {}});
    TraceEvent event;
    event.row = Row::k_openat;
    event.created = true;
    event.process = 1;
    event.thread = 2;
    event.begin = 1;
    event.end = 2;
    event.result = 3;
    event.disk_stamp = 17;
    event.file = 3;
    event.name = {kRootFile, "new"};
    event.mode = S_IFREG | 0600;
    event.stack = {0x401000, ~0ull};
    trace.events.push_back(event);
    event = {};
    event.row = Row::k_pwrite64;
    event.begin = 3;
    event.end = 4;
    event.result = 5;
    event.file = 3;
    event.offset = 8192;
    event.sync = WriteSync::kData;
    event.data = trace.add_data("hello");
    trace.events.push_back(event);
    event = {};
    event.row = Row::k_rename;
    event.begin = 5;
    event.end = 6;
    event.file = 3;
    event.replaced = 2;
    event.name = {kRootFile, "new"};
    event.name2 = {kRootFile, "old"};
    trace.events.push_back(event);
    event = {};
    event.row = Row::k_fsync;
    event.begin = 7;
    event.end = 8;
    event.result = -EIO;
    event.file = 3;
    trace.events.push_back(event);
    event = {};
    event.kind = EventKind::kAcknowledgement;
    event.begin = 9;
    event.data = trace.add_data("done \"x\"\n");
    trace.events.push_back(event);
    event = {};
    event.kind = EventKind::kUnmodelled;
    event.row = Row::k_mmap;
    event.begin = 10;
    event.end = 11;
    event.text = "a mapping";
    trace.events.push_back(event);
    trace.final.files.push_back({kRootFile, S_IFDIR | 0755, 1, 2, 0, {}, "", {}, {{"old", 3}}});
    trace.final.files.push_back({3, S_IFREG | 0600, 1, 2, 0, {}, "", {}, {}});
    return trace;
  }
  std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void replace(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }
  /// The error, without the path; "" if the file was read.
  std::string error() const {
    const auto trace = read_trace(path_);
    if (trace) return "";
    EXPECT_TRUE(trace.error().bad_input);
    EXPECT_EQ(trace.error().message.find('\n'), std::string::npos);
    return trace.error().message.substr(path_.size() + 2);
  }

  std::string directory_;
  std::string path_;
};

TEST_F(TraceFile, GivesBackWhatWasWritten) {
  const Trace trace = sample();
  ASSERT_TRUE(write_trace(trace, path_).has_value());
  const auto read = read_trace(path_);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->command, trace.command);
  EXPECT_EQ(read->blind_spots, trace.blind_spots);
  EXPECT_EQ(read->bytes, trace.bytes);
  ASSERT_EQ(read->events.size(), trace.events.size());
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    EXPECT_EQ(describe_event(*read, i), describe_event(trace, i));
  }
  EXPECT_EQ(read->events[0].stack, trace.events[0].stack);
  EXPECT_EQ(read->events[3].result, -EIO);
  EXPECT_EQ(read->events[0].disk_stamp, 17u);
  ASSERT_EQ(read->initial.files.size(), 2u);
  EXPECT_EQ(read->initial.files[1].attributes, trace.initial.files[1].attributes);
  EXPECT_EQ(read->initial.files[1].extents.at(0).offset, 4096u);
  EXPECT_EQ(read->final.files.at(0).entries, trace.final.files[0].entries);
  // Field by field, by way of the bytes: what is written again is the same.
  const std::string first = content();
  ASSERT_TRUE(write_trace(*read, path_).has_value());
  EXPECT_EQ(content(), first);
  // No temporary file stays.
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_F(TraceFile, RefusesWhatIsNoWholeTrace) {
  ASSERT_TRUE(write_trace(sample(), path_).has_value());
  const std::string whole = content();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    replace(whole.substr(0, length));
    EXPECT_EQ(error(), length < 8 ? "not a trace of crashgate" : "the trace is cut short");
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    replace(damaged);
    EXPECT_NE(error(), "") << at;
  }
  replace(whole + "x");
  EXPECT_EQ(error(), "the trace is damaged");
  constexpr std::uintmax_t kHuge = std::uintmax_t{1} << 40;
  replace(whole);
  fs::resize_file(path_, kHuge);  // mostly a hole
  EXPECT_EQ(error(), "the trace is damaged");
  std::string speaks_of_more = whole;
  speaks_of_more.replace(16, 8, std::string("\0\0\0\0\0\x40\0\0", 8));  // 2^46
  replace(speaks_of_more);
  EXPECT_EQ(error(), "the trace is cut short");
  std::string other_version = whole;
  other_version[8] = 9;
  replace(other_version);
  EXPECT_EQ(error(), "a trace of version 9, not 2");
  fs::remove(path_);
  EXPECT_EQ(error(), "cannot open: No such file or directory");
  fs::create_directory(path_);
  EXPECT_EQ(error(), "not a trace: not a regular file");
}

TEST_F(TraceFile, LeavesTheOldFileWhereWritingFails) {
  const auto written = write_trace(sample(), directory_ + "/absent/a.trace");
  ASSERT_FALSE(written.has_value());
  EXPECT_NE(written.error().message.find("No such file or directory"), std::string::npos);
}

TEST_F(TraceFile, RefusesWhatNoRecorderSays) {
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 63;
  const std::pair<const char*, void (*)(Trace&)> cases[] = {
      {"the tree before: it has no root", [](Trace& t) { t.initial.files.clear(); }},
      {"the tree after: it has no root", [](Trace& t) { t.final.files[0].mode = S_IFREG; }},
      {"the tree before: file 2 is there twice",
       [](Trace& t) { t.initial.files.push_back(t.initial.files[1]); }},
      {"the tree before: file 4000000000 cannot have that number",
       [](Trace& t) { t.initial.files[1].id = 4000000000; }},
      {"the tree before: an entry's name cannot be one",
       [](Trace& t) { t.initial.files[0].entries["../../../tmp/PWNED"] = 2; }},
      {"the tree before: an entry's name cannot be one",
       [](Trace& t) { t.initial.files[0].entries[".."] = 2; }},
      {"the tree before: an entry's name cannot be one",
       [](Trace& t) { t.initial.files[0].entries[""] = 2; }},
      {"the tree before: an entry's name cannot be one",
       [](Trace& t) { t.initial.files[0].entries[std::string("a\0b", 3)] = 2; }},
      {"the tree before: entry \"z\" names no file",
       [](Trace& t) { t.initial.files[0].entries["z"] = 3; }},
      {"the tree before: directory \"z\" has two names",
       [](Trace& t) { t.initial.files[0].entries["z"] = kRootFile; }},
      {"the tree before: a file without a name",
       [](Trace& t) { t.initial.files[0].entries.clear(); }},
      {"the tree before: file 2: extents that overlap or end beyond all files",
       [](Trace& t) { t.initial.files[1].extents[0].offset = kHuge - 1; }},
      {"the tree before: file 2: data that is not in the trace",
       [](Trace& t) { t.initial.files[1].extents[0].data.position = ~0ull; }},
      {"the tree before: file 2: larger than a file can be",
       [](Trace& t) { t.initial.files[1].size = kHuge; }},
      {"the tree before: file 2: no type of file",
       [](Trace& t) { t.initial.files[1].mode = 0644; }},
      {"event 0: a storage call that is none", [](Trace& t) { t.events[0].row = Row::kCount; }},
      {"event 0: the file is missing", [](Trace& t) { t.events[0].file = kNoFile; }},
      {"event 0: a name that cannot be one", [](Trace& t) { t.events[0].name.name = "a/b"; }},
      {"event 0: a name that cannot be one", [](Trace& t) { t.events[0].name.name = ""; }},
      {"event 0: a name in what is no directory", [](Trace& t) { t.events[0].name.directory = 2; }},
      {"event 0: no type of file", [](Trace& t) { t.events[0].mode = 0; }},
      {"event 0: it makes a file that there was",
       [](Trace& t) { t.events[0].file = 2, t.events[0].mode = S_IFLNK; }},
      {"event 1: beyond all files", [](Trace& t) { t.events[1].offset = kHuge - 1; }},
      {"event 1: created by what makes nothing", [](Trace& t) { t.events[1].created = true; }},
      {"event 1: truncated by what opens nothing", [](Trace& t) { t.events[1].truncated = true; }},
      {"event 1: file 4000000000 cannot have that number",
       [](Trace& t) { t.events[1].source = 4000000000; }},
      {"event 1: the file is missing",
       [](Trace& t) { t.events[1].row = Row::k_ftruncate, t.events[1].file = kNoFile; }},
      {"event 1: a result that no call has", [](Trace& t) { t.events[1].result = INT64_MIN; }},
      {"event 1: beyond all files",
       [](Trace& t) { t.events[1].row = Row::k_ftruncate, t.events[1].length = kHuge; }},
      {"event 1: it changes the type of a file",
       [](Trace& t) { t.events[1].row = Row::k_fchmod, t.events[1].mode = S_IFDIR | 0700; }},
      {"event 2: a name of the root", [](Trace& t) { t.events[2].file = kRootFile; }},
      {"event 2: a name that cannot be one", [](Trace& t) { t.events[2].name2.name = ".."; }},
      {"event 4: data that is not in the trace", [](Trace& t) { t.events[4].data.length = 1000; }},
  };
  for (const auto& [what, change] : cases) {
    Trace trace = sample();
    change(trace);
    ASSERT_TRUE(write_trace(trace, path_).has_value());
    EXPECT_EQ(error(), std::string("the trace is malformed: ") + what);
  }
}

TEST_F(TraceFile, HoldsAMillionEvents) {
  Trace trace = sample();
  trace.events.clear();
  trace.events.resize(1'000'000);
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    TraceEvent& event = trace.events[i];
    event.row = Row::k_pwrite64;
    event.file = 2;
    event.offset = i * 4096;
    event.begin = 2 * i + 1;
    event.end = 2 * i + 2;
    event.data = trace.add_data("x");
  }
  ASSERT_TRUE(write_trace(trace, path_).has_value());
  const auto read = read_trace(path_);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  ASSERT_EQ(read->events.size(), trace.events.size());
  EXPECT_EQ(read->events.back().offset, trace.events.back().offset);
  EXPECT_EQ(read->bytes.size(), trace.bytes.size());
}

TEST_F(TraceFile, IsDescribedLineByLine) {
  const Trace trace = sample();
  const char* expected[] = {
      "0  1/2  openat \"new\" creates = 3",
      "1  0/0  pwrite64 \"new\" 5 bytes at 8192 O_DSYNC = 5",
      "2  0/0  rename \"new\" -> \"old\" = 0",
      "3  0/0  fsync \"old\" = -5 EIO",
      "4  0/0  acknowledge told \"done \\\"x\\\"\\n\" = ?",
      "5  0/0  mmap not modelled: a mapping",
  };
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    EXPECT_EQ(describe_event(trace, i), expected[i]);
  }
}

}  // namespace
}  // namespace crashgate::faultinject
