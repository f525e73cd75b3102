// Linux AIO under the ptrace recorder: what each request did, and when the program knew.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "faultinject/ptrace_recorder.h"
#include "tests/faultinject/trace_replay.h"

namespace crashgate::faultinject {
namespace {

namespace fs = std::filesystem;

class AsynchronousIo : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(work_in("/dev/shm")); }
  void TearDown() override { fs::remove_all(options_.directory); }

  void work_in(const std::string& parent) {
    fs::remove_all(options_.directory);
    options_.directory = parent + "/asynchronous_test.XXXXXX";
    ASSERT_NE(mkdtemp(options_.directory.data()), nullptr);
    options_.time_limit = std::chrono::seconds(60);
  }
  /// On a disk, where direct writes are asynchronous indeed. False: there is none that takes them.
  [[nodiscard]] bool work_on_disk() {
    work_in("/var/tmp");
    const std::string path = options_.directory + "/try";
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT, 0600);
    fs::remove(path);
    return fd >= 0 && close(fd) == 0;
  }

  Recording record(const std::string& mode) {
    options_.command = {CRASHGATE_PROBE_PATH, mode};
    auto recording = record_with_ptrace(options_);
    EXPECT_TRUE(recording.has_value()) << recording.error().message;
    if (!recording) return {};
    SCOPED_TRACE(lines(recording->trace));
    EXPECT_EQ(recording->exit_status, 0);
    EXPECT_EQ(recording->signal, 0);
    EXPECT_FALSE(recording->timed_out);
    return std::move(*recording);
  }
  /// What can be modelled in full.
  Trace predicted(const std::string& mode) {
    Trace trace = record(mode).trace;
    EXPECT_EQ(prediction_error(trace), "");
    EXPECT_EQ(unmodelled(trace), "");
    for (const TraceEvent& event : trace.events) {
      EXPECT_TRUE(event.end == 0 || event.begin < event.end);
    }
    return trace;
  }
  static std::string unmodelled(const Trace& trace) {
    for (const TraceEvent& event : trace.events) {
      if (event.kind == EventKind::kUnmodelled) return event.text;
    }
    return "";
  }
  static std::vector<TraceEvent> of_row(const Trace& trace, Row row) {
    std::vector<TraceEvent> events;
    for (const TraceEvent& event : trace.events) {
      if (event.row == row) events.push_back(event);
    }
    return events;
  }
  static TraceEvent told(const Trace& trace, std::string_view text) {
    for (const TraceEvent& event : trace.events) {
      if (event.kind == EventKind::kAcknowledgement && trace.data(event.data) == text) return event;
    }
    ADD_FAILURE() << "nobody told " << text << "\n" << lines(trace);
    return {};
  }
  static std::string lines(const Trace& trace) {
    std::string text;
    for (std::size_t i = 0; i < trace.events.size(); ++i) text += describe_event(trace, i) + "\n";
    return text;
  }

  RecordOptions options_;
};

TEST_F(AsynchronousIo, LastsFromTheSubmissionUntilTheProgramKnows) {
  const Trace trace = predicted("buffered");
  const auto writes = of_row(trace, Row::k_io_submit);
  ASSERT_EQ(writes.size(), 3u) << lines(trace);
  const TraceEvent submitted = told(trace, "submitted"), reaped = told(trace, "reaped");
  for (const TraceEvent& write : writes) {
    EXPECT_LT(write.begin, submitted.begin);
    EXPECT_GT(write.end, submitted.end);
    EXPECT_LT(write.end, reaped.begin);
  }
  EXPECT_EQ(trace.data(writes[0].data), "asynchronous");
  EXPECT_EQ(trace.data(writes[1].data), "onetwo");
  EXPECT_EQ(writes[1].offset, 100u);
  EXPECT_EQ(writes[1].result, 6);
  EXPECT_EQ(writes[2].offset, 200u);
}

TEST_F(AsynchronousIo, KnowsWhatIsSynchronous) {
  const Trace trace = predicted("syncs");
  std::vector<WriteSync> found;
  for (const TraceEvent& write : of_row(trace, Row::k_io_submit)) found.push_back(write.sync);
  EXPECT_EQ(found, (std::vector<WriteSync>{WriteSync::kData, WriteSync::kFile, WriteSync::kData,
                                           WriteSync::kFile}));
  const auto syncs = of_row(trace, Row::k_fsync);
  ASSERT_EQ(syncs.size(), 2u);
  EXPECT_EQ(syncs[0].file, of_row(trace, Row::k_io_submit)[0].file);
  EXPECT_EQ(syncs[1].file, kRootFile);
  EXPECT_EQ(of_row(trace, Row::k_fdatasync).size(), 1u);
  for (const TraceEvent& event : trace.events) EXPECT_NE(event.end, 0u) << lines(trace);
  EXPECT_NE(lines(trace).find("fsync \"f\" by io_submit = 0"), std::string::npos) << lines(trace);
}

TEST_F(AsynchronousIo, SyncsOnlyWhatWasKnownBefore) {
  const Trace trace = predicted("together");
  const auto writes = of_row(trace, Row::k_io_submit), syncs = of_row(trace, Row::k_fsync);
  ASSERT_EQ(writes.size(), 1u);
  ASSERT_EQ(syncs.size(), 2u);
  EXPECT_GT(writes[0].end, syncs[0].begin);
  EXPECT_LT(writes[0].end, syncs[1].begin);
}

TEST_F(AsynchronousIo, KnowsWhereAppendsWent) {
  const Trace trace = predicted("appends");
  std::vector<std::uint64_t> offsets;
  for (const TraceEvent& write : of_row(trace, Row::k_io_submit)) offsets.push_back(write.offset);
  EXPECT_EQ(offsets, (std::vector<std::uint64_t>{6, 15, 40, 49, 58}));
}

TEST_F(AsynchronousIo, RecordsWhatWasDoneOfWhatWasAsked) {
  const Trace trace = predicted("partial");
  const auto writes = of_row(trace, Row::k_io_submit);
  ASSERT_EQ(writes.size(), 2u) << lines(trace);
  EXPECT_EQ(writes[0].data.length, 80u);
  EXPECT_EQ(writes[1].data.length, 40u);
}

TEST_F(AsynchronousIo, NeverEndsWhatIsNeverTaken) {
  const Trace trace = predicted("never_reaped");
  const auto writes = of_row(trace, Row::k_io_submit), syncs = of_row(trace, Row::k_fsync);
  ASSERT_EQ(writes.size(), 1u) << lines(trace);
  ASSERT_EQ(syncs.size(), 2u);
  EXPECT_EQ(writes[0].end, 0u);
  EXPECT_EQ(syncs[0].end, 0u);
  EXPECT_NE(syncs[1].end, 0u);
}

TEST_F(AsynchronousIo, SeesCompletionsTakenInAnyWay) {
  const Trace trace = predicted("taken");
  const auto writes = of_row(trace, Row::k_io_submit);
  ASSERT_EQ(writes.size(), 3u) << lines(trace);
  const char* told_after[] = {"ring", "destroyed", "child"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NE(writes[i].end, 0u) << i;
    EXPECT_LT(writes[i].end, told(trace, told_after[i]).begin) << i;
  }
}

TEST_F(AsynchronousIo, FollowsTheRingRoundItsEnd) {
  const Trace trace = predicted("rounds");
  const auto writes = of_row(trace, Row::k_io_submit);
  EXPECT_EQ(writes.size(), 3000u);
  std::uint64_t last = 0;
  for (const TraceEvent& write : writes) {
    EXPECT_NE(write.end, 0u);
    EXPECT_LT(last, write.end);
    last = write.end;
  }
}

TEST_F(AsynchronousIo, StampsTheDiskWhenTheProgramKnows) {
  std::atomic<std::uint64_t> stamp = 1;
  options_.disk_stamp = &stamp;
  options_.after_event = [&] { ++stamp; };
  const Trace trace = predicted("together");
  const auto writes = of_row(trace, Row::k_io_submit), syncs = of_row(trace, Row::k_fsync);
  EXPECT_EQ(writes.at(0).disk_stamp, 3u) << lines(trace);  // after open and io_submit
  EXPECT_EQ(syncs.at(1).disk_stamp, 4u);
}

/// Where direct writes go to a disk, and where they only look so.
class DirectWrites : public AsynchronousIo, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    AsynchronousIo::SetUp();
    if (GetParam() && !work_on_disk()) GTEST_SKIP() << "/var/tmp takes no direct writes";
  }
};
INSTANTIATE_TEST_SUITE_P(, DirectWrites, testing::Bool(), [](const auto& each) {
  return std::string(each.param ? "OnADisk" : "InMemory");
});

TEST_P(DirectWrites, AreReadBackWhenTheyAreDone) {
  const Trace trace = predicted("direct");
  const auto writes = of_row(trace, Row::k_io_submit);
  ASSERT_GE(writes.size(), 13u);
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(trace.data(writes[i].data), std::string(4096, static_cast<char>('a' + i)));
    EXPECT_EQ(writes[i].sync, i % 3 == 0 ? WriteSync::kData : WriteSync::kNone);
  }
}

TEST_P(DirectWrites, OfManyThreads) {
  const Trace trace = predicted("threads");
  EXPECT_EQ(of_row(trace, Row::k_io_submit).size(), 120u);
  EXPECT_EQ(of_row(trace, Row::k_fdatasync).size(), 12u);
}

TEST_P(DirectWrites, OfAProgramThatIsKilled) {
  const Trace trace = predicted("killed");
  const auto writes = of_row(trace, Row::k_io_submit);
  EXPECT_GE(writes.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(writes.at(i).end, 0u);
}

TEST_P(DirectWrites, ThatRaceAreNotModelled) {
  const char* text = "a write of what an asynchronous write (AIO) may still have been writing";
  EXPECT_EQ(unmodelled(record("contested").trace), text);
  EXPECT_EQ(unmodelled(record("contested_by_write").trace), text);
}

TEST_F(AsynchronousIo, SaysWhatItCannotModel) {
  const Trace failed = record("fails").trace;
  EXPECT_EQ(unmodelled(failed), "an asynchronous write (AIO) that failed, maybe half-way");
  EXPECT_EQ(failed.events.size(), 2u) << lines(failed);  // the open, and one of the two
  EXPECT_EQ(unmodelled(record("contested_at_once").trace),
            "a write of what an asynchronous write (AIO) may still have been writing");
  EXPECT_EQ(unmodelled(record("to_output").trace),
            "an asynchronous write (AIO) to standard output");
}

}  // namespace
}  // namespace crashgate::faultinject
