#include "faultinject/ptrace_recorder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "faultinject/source_location.h"
#include "tests/faultinject/trace_replay.h"

namespace crashgate::faultinject {
namespace {

namespace fs = std::filesystem;

class PtraceRecorder : public testing::Test {
 protected:
  void SetUp() override {
    // Where a file system gives inode numbers out again at once (ext4), more can go wrong.
    const char* place = std::getenv("CRASHGATE_TMPDIR");
    base_ = std::string(place != nullptr ? place : "/dev/shm") + "/recorder_test.XXXXXX";
    ASSERT_NE(mkdtemp(base_.data()), nullptr);
    ASSERT_TRUE(fs::create_directory(base_ + "/tree"));
    ASSERT_TRUE(fs::create_directory(base_ + "/outside"));
    options_.directory = base_ + "/tree";
    options_.environment = {"OUTSIDE=" + base_ + "/outside", "LC_ALL=C"};
    options_.time_limit = std::chrono::seconds(60);
  }
  void TearDown() override { fs::remove_all(base_); }

  Recording record(std::vector<std::string> command) {
    options_.command = std::move(command);
    auto recording = record_with_ptrace(options_);
    EXPECT_TRUE(recording.has_value()) << recording.error().message;
    return recording ? std::move(*recording) : Recording();
  }
  Recording probe(const std::string& mode) { return record({CRASHGATE_PROBE_PATH, mode}); }

  static std::size_t count(const Trace& trace, EventKind kind) {
    return static_cast<std::size_t>(
        std::count_if(trace.events.begin(), trace.events.end(),
                      [&](const TraceEvent& event) { return event.kind == kind; }));
  }
  static std::string told(const Trace& trace) {
    std::string text;
    for (const TraceEvent& event : trace.events) {
      if (event.kind == EventKind::kAcknowledgement) text += trace.data(event.data);
    }
    return text;
  }
  static std::vector<TraceEvent> of_row(const Trace& trace, Row row) {
    std::vector<TraceEvent> events;
    for (const TraceEvent& event : trace.events) {
      if (event.row == row) events.push_back(event);
    }
    return events;
  }
  static std::string lines(const Trace& trace) {
    std::string text;
    for (std::size_t i = 0; i < trace.events.size(); ++i) text += describe_event(trace, i) + "\n";
    return text;
  }

  std::string base_;
  RecordOptions options_;
};

/// Whatever a program does that can be modelled, the events must lead to the tree that is found,
/// stamps must count up, and the program must not notice.
class EveryMode : public PtraceRecorder, public testing::WithParamInterface<const char*> {
 protected:
  void check(const char* program) {
    const Recording recording = record({program, GetParam()});
    EXPECT_EQ(recording.exit_status, 0);
    EXPECT_EQ(recording.signal, 0);
    EXPECT_FALSE(recording.timed_out);
    EXPECT_EQ(recording.left_behind, std::vector<std::string>());
    EXPECT_EQ(prediction_error(recording.trace), "");
    EXPECT_EQ(count(recording.trace, EventKind::kUnmodelled), 0u) << lines(recording.trace);
    std::uint64_t last = 0;
    for (const TraceEvent& event : recording.trace.events) {
      if (event.end == 0) continue;
      EXPECT_LT(event.begin, event.end);
      EXPECT_LT(last, event.end);
      last = event.end;
    }
  }
};

TEST_P(EveryMode, IsPredictedByItsTrace) {
  check(CRASHGATE_PROBE_PATH);
}
TEST_P(EveryMode, IsPredictedByItsTraceWhenLinkedStatically) {
  check(CRASHGATE_STATIC_PROBE_PATH);
}
INSTANTIATE_TEST_SUITE_P(, EveryMode,
                         testing::Values("writes", "appends", "resizes", "names", "reuse",
                                         "attributes", "directories", "temporary", "copies",
                                         "output", "stdio", "raw", "processes", "contend",
                                         "exec_in_thread", "exit_while_writing", "leader_ends",
                                         "stopped", "interrupted", "waits", "private_mapping",
                                         "uring", "stacked", "failing", "listens", "chrooted",
                                         "beneath", "lock_files", "lock_directories", "poll_names"),
                         [](const auto& each) { return std::string(each.param); });

TEST_F(PtraceRecorder, StartsFromWhatIsThere) {
  std::ofstream(options_.directory + "/log") << "old content\n";
  fs::create_directory(options_.directory + "/d");
  fs::create_hard_link(options_.directory + "/log", options_.directory + "/d/link");
  const Recording recording = probe("appends");
  EXPECT_EQ(prediction_error(recording.trace), "");
  const SnapshotFile& root = recording.trace.initial.files.at(0);
  EXPECT_EQ(root.id, kRootFile);
  EXPECT_EQ(root.entries.size(), 2u);
  for (const TraceEvent& event : recording.trace.events) EXPECT_FALSE(event.created);
  EXPECT_EQ(recording.trace.events.at(0).offset, 12u);
}

TEST_F(PtraceRecorder, SaysHowMuchOfAWriteIsDurable) {
  const Recording recording = probe("writes");
  std::vector<WriteSync> found;
  for (const TraceEvent& event : recording.trace.events) {
    if (event.sync != WriteSync::kNone) found.push_back(event.sync);
  }
  EXPECT_EQ(found, (std::vector<WriteSync>{WriteSync::kData, WriteSync::kFile, WriteSync::kFile,
                                           WriteSync::kData}));
  EXPECT_EQ(of_row(recording.trace, Row::k_fsync).size(), 2u);
  EXPECT_EQ(of_row(recording.trace, Row::k_fsync).at(1).file, kRootFile);
  EXPECT_EQ(of_row(recording.trace, Row::k_fdatasync).size(), 1u);
  EXPECT_EQ(of_row(recording.trace, Row::k_syncfs).size(), 1u);
  EXPECT_EQ(of_row(recording.trace, Row::k_sync).size(), 1u);
  EXPECT_EQ(of_row(recording.trace, Row::k_sync_file_range).size(), 1u);
}

TEST_F(PtraceRecorder, GivesACreatedFileANewNumber) {
  const Recording recording = probe("reuse");
  std::vector<FileId> made;
  for (const TraceEvent& event : recording.trace.events) {
    if (event.created) made.push_back(event.file);
  }
  EXPECT_EQ(made.size(), 20u);
  EXPECT_TRUE(std::adjacent_find(made.begin(), made.end(), std::greater_equal<>()) == made.end());
}

TEST_F(PtraceRecorder, PutsEventsInTheOrderOfEffect) {
  const Recording recording = probe("contend");
  FileId log = kNoFile;
  std::uint64_t end = 0;
  std::size_t appends = 0;
  for (const TraceEvent& event : recording.trace.events) {
    if (event.created && event.name.name == "log") log = event.file;
    if (event.row != Row::k_write || event.file != log) continue;
    EXPECT_EQ(event.offset, end);
    end += event.data.length;
    ++appends;
  }
  EXPECT_EQ(appends, 800u);
}

/// Calls that fail as long as another process holds a lock, and succeed the moment it does not.
TEST_F(PtraceRecorder, MissesNoCallThatItThoughtWouldFail) {
  const auto made = [&](const std::string& mode, Row row) {
    const Recording recording = probe(mode);
    EXPECT_EQ(prediction_error(recording.trace), "");
    return std::ranges::count_if(recording.trace.events, [&](const TraceEvent& event) {
      return event.created && event.row == row && event.name.name == "lock";
    });
  };
  EXPECT_EQ(made("lock_files", Row::k_openat), 150);
  EXPECT_EQ(made("lock_directories", Row::k_mkdir), 150);
  const Recording polling = probe("poll_names");
  EXPECT_EQ(count(polling.trace, EventKind::kUnmodelled), 0u) << lines(polling.trace);
  EXPECT_EQ(std::ranges::count_if(polling.trace.events,
                                  [](const TraceEvent& event) {
                                    return event.row == Row::k_rename && event.name.name == "job";
                                  }),
            150);
}

TEST_F(PtraceRecorder, AFileThatDidNotGetInStaysOutside) {
  const Recording recording = probe("stays_outside");
  ASSERT_EQ(recording.exit_status, 0);
  ASSERT_EQ(recording.trace.events.size(), 2u) << lines(recording.trace);
  EXPECT_EQ(recording.trace.events[1].text,
            "\"moved in\" was moved into the tree, from outside or ignored");
}

TEST_F(PtraceRecorder, HearsStandardOutputWhateverTheCall) {
  const Recording recording = probe("output");
  EXPECT_EQ(told(recording.trace), "one two three before spliced spliced vm child explicit");
  EXPECT_FALSE(recording.output_only_at_exit);
  // In its place: between the first write and the fsync.
  const auto& events = recording.trace.events;
  const auto first = std::find_if(events.begin(), events.end(), [](const TraceEvent& event) {
    return event.kind == EventKind::kAcknowledgement;
  });
  ASSERT_NE(first, events.end());
  EXPECT_EQ((first - 1)->row, Row::k_write);
  EXPECT_EQ((first + 1)->row, Row::k_fsync);
}

TEST_F(PtraceRecorder, HearsATerminalToo) {
  options_.terminal = true;
  const Recording recording = record({"sh", "-c", "test -t 1 && echo yes; echo a > f; echo done"});
  EXPECT_EQ(told(recording.trace), "yes\ndone\n");
  EXPECT_FALSE(recording.output_only_at_exit);
}

TEST_F(PtraceRecorder, TheProgramHasNoTerminalOfOursToBeStoppedBy) {
  const Recording recording =
      record({"sh", "-c",
              "read -r pid name state parent group session rest </proc/self/stat;"
              " test $session = $$ && test $group = $$ && ! (: </dev/tty)"});
  EXPECT_EQ(recording.exit_status, 0);
}

TEST_F(PtraceRecorder, IsNotHeldUpByMuchOutput) {
  const std::string copy = base_ + "/copy";
  options_.output_copy = open(copy.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const Recording recording = probe("big_output");
  close(options_.output_copy);
  EXPECT_EQ(told(recording.trace).size(), 20u << 20);
  EXPECT_EQ(fs::file_size(copy), 20u << 20);
  EXPECT_FALSE(recording.output_only_at_exit);  // there is nothing to be later than
}

TEST_F(PtraceRecorder, SaysThatOutputCameTooLate) {
  EXPECT_TRUE(probe("stdio").output_only_at_exit);
  options_.terminal = true;
  EXPECT_FALSE(probe("stdio").output_only_at_exit);
}

TEST_F(PtraceRecorder, OneLineAtTheEndIsNotTooLate) {
  EXPECT_FALSE(record({"sh", "-c", "echo a > f; echo done"}).output_only_at_exit);
}

TEST_F(PtraceRecorder, ReportsTheEndOfTheProgram) {
  EXPECT_EQ(record({"sh", "-c", "exit 7"}).exit_status, 7);
  const Recording crashed = probe("crash");
  EXPECT_EQ(crashed.signal, SIGSEGV);
  EXPECT_EQ(prediction_error(crashed.trace), "");
  const Recording killed = probe("killed");
  EXPECT_EQ(killed.signal, SIGKILL);
  EXPECT_EQ(prediction_error(killed.trace), "");
}

TEST_F(PtraceRecorder, KillsWhatIsLeftBehind) {
  const Recording recording = probe("daemon");
  EXPECT_EQ(recording.left_behind, std::vector<std::string>{"recorder_probe"});
  EXPECT_EQ(prediction_error(recording.trace), "");
  EXPECT_FALSE(recording.timed_out);
}

TEST_F(PtraceRecorder, KeepsTheTimeLimit) {
  options_.time_limit = std::chrono::milliseconds(100);
  const Recording recording = probe("forever");
  EXPECT_TRUE(recording.timed_out);
  EXPECT_EQ(recording.signal, SIGKILL);
}

TEST_F(PtraceRecorder, NotesTheStampOfTheDiskWhenACallReturns) {
  std::atomic<std::uint64_t> stamp = 5;
  options_.disk_stamp = &stamp;
  options_.after_event = [&] { stamp += 10; };
  const Recording recording = record({"/bin/sh", "-c", "mkdir a; rmdir a; echo done; mkdir b"});
  std::vector<std::pair<EventKind, std::uint64_t>> seen;
  for (const TraceEvent& event : recording.trace.events) {
    seen.emplace_back(event.kind, event.disk_stamp);
  }
  EXPECT_EQ(seen,
            (std::vector<std::pair<EventKind, std::uint64_t>>{{EventKind::kStorage, 5},
                                                              {EventKind::kStorage, 15},
                                                              {EventKind::kAcknowledgement, 25},
                                                              {EventKind::kStorage, 25}}));
}

TEST_F(PtraceRecorder, CallsBackWhileTheProgramStillStandsAtItsCall) {
  std::vector<bool> next_is_made;
  options_.after_event = [&] { next_is_made.push_back(fs::exists(base_ + "/tree/b")); };
  record({"/bin/sh", "-c", "mkdir a; mkdir b"});
  EXPECT_EQ(next_is_made, (std::vector<bool>{false, true}));
}

TEST_F(PtraceRecorder, NoticesWritesOutside) {
  const Recording recording = probe("outside");
  EXPECT_EQ(recording.written_outside, std::vector<std::string>{base_ + "/outside/f"});
  EXPECT_FALSE(recording.more_written_outside);
  EXPECT_EQ(prediction_error(recording.trace), "");
  EXPECT_EQ(recording.trace.events.size(), 2u) << lines(recording.trace);
}

TEST_F(PtraceRecorder, FollowsAFileOutOfTheTreeAndBack) {
  const Recording recording = probe("moves");
  EXPECT_EQ(prediction_error(recording.trace), "");
  EXPECT_EQ(count(recording.trace, EventKind::kUnmodelled), 0u);
}

TEST_F(PtraceRecorder, SaysWhatItCannotModel) {
  const auto reason = [&](const std::string& mode) {
    const Recording recording = probe(mode);
    EXPECT_EQ(recording.exit_status, 0) << mode;
    for (const TraceEvent& event : recording.trace.events) {
      if (event.kind == EventKind::kUnmodelled) return event.text;
    }
    return std::string();
  };
  EXPECT_EQ(reason("mapped"), "a shared writable mapping of a file");
  EXPECT_EQ(reason("second_mapping"), "a shared writable mapping of a file");
  EXPECT_EQ(reason("made_writable"), "");
  options_.environment.push_back("MAKE_WRITABLE=1");
  EXPECT_EQ(reason("made_writable"), "a shared mapping of a file, made writable");
  const std::string foreign = reason("foreign");
  std::ifstream said(options_.directory + "/f");
  if (said.peek() == 'a') {
    EXPECT_EQ(foreign,
              "system calls of another architecture (a 32-bit or x32 program): recorder_probe");
  }
  EXPECT_EQ(reason("moved_in"), "\"in\" was moved into the tree, from outside or ignored");
}

TEST_F(PtraceRecorder, TakesWhatMsyncForcedFromTheFile) {
  const Recording recording = probe("mapped");
  const auto barriers = of_row(recording.trace, Row::k_msync);
  ASSERT_EQ(barriers.size(), 1u);
  EXPECT_EQ(barriers[0].offset, 0u);
  EXPECT_EQ(recording.trace.data(barriers[0].data).substr(3999, 202),
            '\0' + std::string(200, 'm') + '\0');
  EXPECT_EQ(prediction_error(recording.trace), "");
}

TEST_F(PtraceRecorder, KnowsWhoCalled) {
  options_.stacks = true;
  for (const char* program : {CRASHGATE_PROBE_PATH, CRASHGATE_STATIC_PROBE_PATH}) {
    const Recording recording = record({program, "stacked"});
    EXPECT_EQ(prediction_error(recording.trace), "");
    SourceLocator locator(recording.trace);
    const auto barriers = of_row(recording.trace, Row::k_fsync);
    ASSERT_EQ(barriers.size(), 3u);
    for (const TraceEvent& barrier : barriers) {
      const auto caller = locator.caller(barrier);
      ASSERT_TRUE(caller.has_value());
      EXPECT_EQ(caller->module, program);
      EXPECT_NE(caller->function.find("store_record"), std::string::npos) << caller->function;
      std::ifstream source(caller->file);
      std::string line;
      for (int i = 0; i < caller->line; ++i) std::getline(source, line);
      EXPECT_NE(line.find("the line of the fsync"), std::string::npos) << caller->file << line;
      // And who called that.
      bool found = false;
      for (std::uint64_t counter : barrier.stack) {
        const auto frame = locator.locate(barrier, counter);
        found |= frame && frame->function.find("commit_transaction") != std::string::npos;
      }
      EXPECT_TRUE(found);
    }
    // The same in every process; but for the C library, which has one way for programs with
    // threads.
    EXPECT_EQ(barriers[0].stack.at(1), barriers[2].stack.at(1));
    // What is read back says the same.
    const std::string path = base_ + "/a.trace";
    ASSERT_TRUE(write_trace(recording.trace, path).has_value());
    const auto read = read_trace(path);
    ASSERT_TRUE(read.has_value());
    SourceLocator again(*read);
    const auto& last = read->events.back();
    ASSERT_TRUE(again.caller(last).has_value());
    EXPECT_EQ(again.caller(last)->line, locator.caller(recording.trace.events.back())->line);
  }
}

/// A file system on a disk that fills up: the pages were taken, writing them back fails.
TEST_F(PtraceRecorder, RecordsAFailedBarrier) {
  if (unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "needs root, for a mount that nobody else sees";
  const std::string set_up =
      "exec >/dev/null 2>&1; mount --make-rprivate / && mkdir small disk && "
      "mount -t tmpfs -o size=3M none small && truncate -s 64M small/image && "
      "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -O ^has_journal small/image && "
      "mount -o loop small/image disk && mkdir disk/tree";
  if (std::system(("cd " + base_ + " && { " + set_up + "; }").c_str()) != 0) {
    GTEST_SKIP() << "no ext4 or no loop devices";
  }
  options_.directory = base_ + "/disk/tree";
  const Recording recording = probe("overcommits");
  ASSERT_EQ(std::system(("cd " + base_ + " && umount disk && umount small").c_str()), 0);
  const auto barriers = of_row(recording.trace, Row::k_fsync);
  ASSERT_EQ(barriers.size(), 2u) << lines(recording.trace);
  EXPECT_TRUE(barriers[0].result == -EIO || barriers[0].result == -ENOSPC) << barriers[0].result;
  EXPECT_EQ(barriers[1].result, 0);
  EXPECT_NE(barriers[0].file, kNoFile);
}

/// An error, or a recording that is complete.
TEST_F(PtraceRecorder, MissesNothingForWantOfDescriptors) {
  rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  std::size_t failures = 0;
  for (rlim_t most = 6; most < 30; ++most) {
    fs::remove_all(options_.directory);
    fs::create_directory(options_.directory);
    const rlimit few = {most, old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    options_.command = {CRASHGATE_PROBE_PATH, "directories"};
    const auto recording = record_with_ptrace(options_);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    if (!recording) {
      ++failures;
    } else {
      EXPECT_EQ(prediction_error(recording->trace), "") << most;
      EXPECT_EQ(recording->timed_out, false);
    }
  }
  EXPECT_GT(failures, 0u);
  EXPECT_LT(failures, 24u);
}

TEST_F(PtraceRecorder, LeavesOutWhatIsIgnored) {
  options_.ignore_globs = {"*.tmp", "cache"};
  const Recording recording = probe("ignored");
  EXPECT_EQ(recording.trace.events.size(), 2u) << lines(recording.trace);
  EXPECT_EQ(recording.trace.final.files.size(), 2u);
  EXPECT_EQ(prediction_error(recording.trace), "");
  EXPECT_EQ(recording.written_outside, std::vector<std::string>());
}

TEST_F(PtraceRecorder, TellsBadInputFromTrouble) {
  const auto fails = [&](std::vector<std::string> command) {
    options_.command = std::move(command);
    const auto recording = record_with_ptrace(options_);
    EXPECT_FALSE(recording.has_value());
    if (recording) return std::string();
    EXPECT_TRUE(recording.error().bad_input) << recording.error().message;
    return recording.error().message;
  };
  EXPECT_EQ(fails({"/absent/program"}), "/absent/program: No such file or directory");
  EXPECT_EQ(fails({}), "no program to run");
  options_.directory = "relative";
  EXPECT_EQ(fails({"true"}), "relative: not the absolute path of a directory");
  options_.directory = "/absent";
  EXPECT_EQ(fails({"true"}), "/absent: not the absolute path of a directory");
}

class RealPrograms : public PtraceRecorder {
 protected:
  Recording shell(const std::string& command) {
    Recording recording = record({"/bin/sh", "-c", command});
    EXPECT_EQ(recording.exit_status, 0);
    EXPECT_EQ(prediction_error(recording.trace), "");
    return recording;
  }
  static bool has(const std::string& program) {
    return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
  }
};

TEST_F(RealPrograms, Shell) {
  shell(
      "echo a > f; mv f g; cp g h; sed -i s/a/b/ h; cat g h | sort -r > all; ln -s h l; "
      "mkdir -p x/y/z; cp -a x w; tar cf - w | tar xf - -C x; truncate -s 99999 big; "
      "dd if=/dev/zero of=dd bs=4k count=3 conv=fsync 2>&1; rm -r w; chmod 600 h; touch h; "
      "install -m 640 h i; sync dd; split -b 1000 dd");
}

TEST_F(RealPrograms, Python) {
  if (!has("python3")) GTEST_SKIP() << "no python3";
  shell(
      "python3 -c 'import os, tempfile, pathlib, shutil\n"
      "with open(\"a\", \"w\") as f: f.write(\"x\" * 100000)\n"
      "f = tempfile.NamedTemporaryFile(dir=\".\", delete=False); f.write(b\"y\"); f.flush()\n"
      "os.fsync(f.fileno()); os.replace(f.name, \"a\"); shutil.copy(\"a\", \"b\")\n"
      "pathlib.Path(\"d\").mkdir(); print(\"ok\")'");
}

TEST_F(RealPrograms, Sqlite) {
  if (!has("sqlite3")) GTEST_SKIP() << "no sqlite3";
  const std::string work =
      "create table t(a primary key, b); insert into t values(1, 2); begin; "
      "insert into t values(3, 4); insert into t values(5, 6); commit; "
      "update t set b = 9; vacuum; delete from t where a = 1;";
  const Recording rollback = shell("sqlite3 a.db '" + work + "'");
  EXPECT_EQ(count(rollback.trace, EventKind::kUnmodelled), 0u) << lines(rollback.trace);
  EXPECT_GT(
      of_row(rollback.trace, Row::k_fdatasync).size() + of_row(rollback.trace, Row::k_fsync).size(),
      0u);
  // Its index of the log is a shared mapping, and is made again after a crash.
  EXPECT_GT(count(shell("sqlite3 b.db 'pragma journal_mode=wal; " + work + "'").trace,
                  EventKind::kUnmodelled),
            0u);
  options_.ignore_globs = {"*-shm"};
  EXPECT_EQ(count(shell("sqlite3 c.db 'pragma journal_mode=wal; " + work + "'").trace,
                  EventKind::kUnmodelled),
            0u);
}

}  // namespace
}  // namespace crashgate::faultinject
