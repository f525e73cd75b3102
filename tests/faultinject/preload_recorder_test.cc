// The preload recorder against the ptrace recorder, and against the trees that programs leave.
#include "faultinject/preload_recorder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "faultinject/ptrace_recorder.h"
#include "tests/faultinject/trace_replay.h"

namespace crashgate::faultinject {
namespace {

namespace fs = std::filesystem;

class PreloadRecorder : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("CRASHGATE_SHIM", CRASHGATE_SHIM_PATH, 1);
    char name[] = "/dev/shm/preload_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    base_ = name;
    options_.environment = {"OUTSIDE=" + base_ + "/outside", "LC_ALL=C"};
    options_.time_limit = std::chrono::seconds(60);
    prepare();
  }
  void TearDown() override { fs::remove_all(base_); }

  /// An empty tree, as before.
  void prepare() {
    fs::remove_all(base_ + "/tree");
    fs::remove_all(base_ + "/outside");
    ASSERT_TRUE(fs::create_directory(base_ + "/tree"));
    ASSERT_TRUE(fs::create_directory(base_ + "/outside"));
    options_.directory = base_ + "/tree";
  }
  Recording record(std::vector<std::string> command) {
    options_.command = std::move(command);
    auto recording = record_with_preload(options_);
    EXPECT_TRUE(recording.has_value()) << recording.error().message;
    return recording ? std::move(*recording) : Recording();
  }
  Recording probe(const std::string& mode) { return record({CRASHGATE_PROBE_PATH, mode}); }

  static std::string told(const Trace& trace) {
    std::string text;
    for (const TraceEvent& event : trace.events) {
      if (event.kind == EventKind::kAcknowledgement) text += trace.data(event.data);
    }
    return text;
  }
  static std::string lines(const Trace& trace) {
    std::string text;
    for (std::size_t i = 0; i < trace.events.size(); ++i) text += describe_event(trace, i) + "\n";
    return text;
  }
  static bool has_unmodelled(const Trace& trace) {
    return std::ranges::any_of(
        trace.events, [](const TraceEvent& event) { return event.kind == EventKind::kUnmodelled; });
  }
  static void expect_complete(const Recording& recording) {
    EXPECT_EQ(recording.trace.blind_spots, std::vector<std::string>{});
    EXPECT_EQ(prediction_error(recording.trace), "");
    EXPECT_FALSE(has_unmodelled(recording.trace)) << lines(recording.trace);
  }

  std::string base_;
  RecordOptions options_;
};

class EveryMode : public PreloadRecorder, public testing::WithParamInterface<const char*> {};

TEST_P(EveryMode, IsPredictedByItsTrace) {
  const Recording recording = probe(GetParam());
  EXPECT_EQ(recording.exit_status, 0);
  EXPECT_EQ(recording.signal, 0);
  EXPECT_EQ(recording.left_behind, std::vector<std::string>{});
  expect_complete(recording);
}
INSTANTIATE_TEST_SUITE_P(, EveryMode,
                         testing::Values("writes", "appends", "resizes", "names", "reuse",
                                         "attributes", "directories", "temporary", "copies",
                                         "processes", "contend", "exec_in_thread",
                                         "exit_while_writing", "leader_ends", "stopped",
                                         "interrupted", "waits", "private_mapping", "uring",
                                         "failing", "listens", "lock_files", "lock_directories",
                                         "poll_names"),
                         [](const auto& each) { return std::string(each.param); });

/// All that an event says, in one line each. The C library makes some calls by another one.
std::string in_full(Trace trace) {
  std::string text;
  for (TraceEvent& event : trace.events) {
    if (event.row == Row::k_open) event.row = Row::k_openat;
    if (event.row == Row::k_mknod) event.row = Row::k_mknodat;
  }
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    const TraceEvent& event = trace.events[i];
    text += describe_event(trace, i);
    for (std::uint64_t number :
         {std::uint64_t{event.file}, std::uint64_t{event.source}, std::uint64_t{event.replaced},
          std::uint64_t{event.name.directory}, std::uint64_t{event.name2.directory}, event.flags,
          event.offset, event.length, std::uint64_t{event.mode}, std::uint64_t{event.uid},
          std::uint64_t{event.gid}, event.data.length}) {
      text += " " + std::to_string(number);
    }
    text += " " + event.name.name + " " + event.name2.name + " " + event.text + " " +
            std::to_string(std::hash<std::string_view>()(trace.data(event.data))) + "\n";
  }
  return text;
}

/// Programs of one thread do the same in the same order, whoever watches.
class BothRecorders : public PreloadRecorder, public testing::WithParamInterface<const char*> {};

TEST_P(BothRecorders, Agree) {
  const std::string preloaded = in_full(probe(GetParam()).trace);
  prepare();
  const auto traced = record_with_ptrace(options_);
  ASSERT_TRUE(traced.has_value());
  EXPECT_EQ(preloaded, in_full(traced->trace));
  EXPECT_NE(preloaded, "");
}
INSTANTIATE_TEST_SUITE_P(, BothRecorders,
                         testing::Values("writes", "appends", "resizes", "names", "reuse",
                                         "attributes", "directories", "temporary", "copies",
                                         "failing", "mapped", "outside", "moves", "listens",
                                         "private_mapping", "stopped", "grandchild"),
                         [](const auto& each) { return std::string(each.param); });

TEST_F(PreloadRecorder, AProgramThatIsKilledIsExplained) {
  const Recording recording = probe("killed");
  EXPECT_EQ(recording.signal, SIGKILL);
  EXPECT_EQ(prediction_error(recording.trace), "");
}

TEST_F(PreloadRecorder, AcknowledgementsAreWhatReachesStandardOutput) {
  const Recording recording =
      record({"/bin/sh", "-c",
              "echo one; echo x > f; echo two; mv f g; " CRASHGATE_PROBE_PATH " big_output"});
  EXPECT_EQ(told(recording.trace), "one\ntwo\n" + std::string(20 << 20, 'o'));
  EXPECT_FALSE(recording.output_only_at_exit);
  expect_complete(recording);
}

TEST_F(PreloadRecorder, ATerminalIsHeardToo) {
  options_.terminal = true;
  const Recording recording = record({"/bin/sh", "-c", "test -t 1 && echo yes; echo a > f"});
  EXPECT_EQ(told(recording.trace), "yes\n");
}

TEST_F(PreloadRecorder, OutputThatItDoesNotSeeIsABlindSpot) {
  const Recording recording = probe("stdio");
  EXPECT_EQ(told(recording.trace), "begun\ndone\n");
  ASSERT_EQ(recording.trace.blind_spots.size(), 2u);
  EXPECT_EQ(recording.trace.blind_spots[0],
            "11 bytes of standard output were written by calls that a preloaded shim does not see "
            "(stdio)");
  EXPECT_EQ(recording.trace.blind_spots[1], "stdio: no recorded call made it");
}

TEST_F(PreloadRecorder, WritesThatItDoesNotSeeAreABlindSpot) {
  const Recording recording = probe("raw");
  ASSERT_EQ(recording.trace.blind_spots.size(), 1u);
  EXPECT_EQ(recording.trace.blind_spots[0], "raw: its size is not what the recorded calls made it");
}

TEST_F(PreloadRecorder, ProgramsWithoutTheShimAreABlindSpot) {
  const std::string program = CRASHGATE_STATIC_PROBE_PATH;
  const std::string end =
      program.substr(program.size() - std::min<std::size_t>(program.size(), 119));
  const std::string line =
      end + " ran without the shim: it is static, set-user-ID, or lost LD_PRELOAD";
  const auto says_so = [&](const Recording& recording) {
    return std::ranges::count(recording.trace.blind_spots, line) == 1;
  };
  EXPECT_TRUE(says_so(record({program, "uring"})));
  EXPECT_TRUE(says_so(record({"/bin/sh", "-c", program + " uring; true"})));
  EXPECT_TRUE(says_so(record({"/bin/sh", "-c", "exec " + program + " uring"})));
  const Recording recording = record({"/bin/sh", "-c", "env -i /bin/true; true"});
  EXPECT_EQ(recording.trace.blind_spots.size(), 1u);
}

TEST_F(PreloadRecorder, RulesAreRecordedAsTheProgramSawThem) {
  options_.environment.push_back("CRASHGATE_RULES=fsync:when=1:error=EIO");
  const Recording recording = record({CRASHGATE_PROBE_PATH, "writes"});
  EXPECT_EQ(recording.exit_status, 1);
  const auto& events = recording.trace.events;
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().row, Row::k_fsync);
  EXPECT_EQ(events.back().result, -EIO);
  expect_complete(recording);
}

TEST_F(PreloadRecorder, WhatCannotBeModelledIsSaid) {
  const auto reason = [&](const std::string& mode) {
    const Recording recording = probe(mode);
    EXPECT_EQ(recording.exit_status, 0) << mode;
    for (const TraceEvent& event : recording.trace.events) {
      if (event.kind == EventKind::kUnmodelled) return event.text;
    }
    return std::string();
  };
  EXPECT_EQ(reason("mapped"), "a shared writable mapping of a file");
  EXPECT_EQ(reason("aio"), "an asynchronous write or sync (AIO)");
  EXPECT_EQ(reason("moved_in"), "\"in\" was moved into the tree, from outside or ignored");
}

TEST_F(PreloadRecorder, LeavesOutWhatIsIgnoredAndNoticesWritesOutside) {
  options_.ignore_globs = {"*.tmp", "cache"};
  Recording recording = probe("ignored");
  EXPECT_EQ(recording.trace.events.size(), 2u) << lines(recording.trace);
  EXPECT_EQ(recording.written_outside, std::vector<std::string>{});
  expect_complete(recording);
  recording = probe("outside");
  EXPECT_EQ(recording.written_outside, std::vector<std::string>{base_ + "/outside/f"});
}

TEST_F(PreloadRecorder, KillsWhatIsLeftBehindAndKeepsTheTimeLimit) {
  const Recording recording = probe("daemon");
  EXPECT_EQ(recording.left_behind, std::vector<std::string>{"recorder_probe"});
  EXPECT_FALSE(recording.timed_out);
  expect_complete(recording);
  options_.time_limit = std::chrono::milliseconds(100);
  const Recording endless = probe("forever");
  EXPECT_TRUE(endless.timed_out);
  EXPECT_EQ(endless.signal, SIGKILL);
}

TEST_F(PreloadRecorder, TellsBadInputFromTrouble) {
  const auto fails = [&](std::vector<std::string> command) {
    options_.command = std::move(command);
    const auto recording = record_with_preload(options_);
    EXPECT_FALSE(recording.has_value());
    if (recording) return std::string();
    EXPECT_TRUE(recording.error().bad_input) << recording.error().message;
    return recording.error().message;
  };
  EXPECT_EQ(fails({"/absent/program"}), "/absent/program: No such file or directory");
  EXPECT_EQ(fails({}), "no program to run");
  options_.directory = "relative";
  EXPECT_EQ(fails({"true"}), "relative: not the absolute path of a directory");
}

TEST_F(PreloadRecorder, RecordsRealPrograms) {
  expect_complete(
      record({"/bin/sh", "-c",
              "mkdir -p x/y/z; echo a > f; mv f g; cp g h; cat g h > all; ln -s h l; cp -a x w; "
              "truncate -s 99999 big; dd if=/dev/zero of=dd bs=4k count=3 conv=fsync 2>/dev/null; "
              "rm -r w; chmod 600 h; install -m 640 h i; sync dd; printf done >> all"}));
  if (std::system("command -v sqlite3 >/dev/null 2>&1") != 0) GTEST_SKIP() << "no sqlite3";
  prepare();
  const Recording recording =
      record({"sqlite3", "a.db",
              "create table t(a primary key, b); insert into t values(1, 2); begin; insert into t "
              "values(3, 4); commit; update t set b = 9; vacuum; delete from t where a = 1;"});
  expect_complete(recording);
  EXPECT_TRUE(std::ranges::any_of(recording.trace.events, [](const TraceEvent& event) {
    return event.row == Row::k_fdatasync || event.row == Row::k_fsync;
  }));
}

}  // namespace
}  // namespace crashgate::faultinject
