// What is known of crashes, as small traces with their known answers: the facts of the design's
// table that were measured on real file systems, and what manual pages promise. Each is asked of
// the enumerator and of the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/crash_state/reference_enumerator.h"
#include "tests/crash_state/rendered_states.h"
#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

using Set = std::set<std::string>;

const Basis kBasis;

std::string repeated(std::size_t count, char byte) {
  return std::string(count, byte);
}

// What a path holds in a tree: "absent"; of a regular file its bytes, "10*a 5*\0", or "empty"; of
// anything else its line in the text.
std::string content(const std::string& tree, const std::string& path) {
  const auto at = tree.find("\n/" + path + ' ');
  if (at == std::string::npos) return "absent";
  const auto begin = at + path.size() + 3;
  const std::string line = tree.substr(begin, tree.find('\n', begin) - begin);
  if (line.starts_with("= /")) return content(tree, line.substr(3));
  const auto size = line.find(" size ");
  if (size == std::string::npos) return line;
  const auto bytes = line.find(' ', size + 6);
  return bytes == std::string::npos ? "empty" : line.substr(bytes + 1);
}

// The line of a path: mode, owner, size, bytes, extended attributes.
std::string line(const std::string& tree, const std::string& path) {
  const auto at = tree.find("\n/" + path + ' ');
  if (at == std::string::npos) return "absent";
  const auto begin = at + path.size() + 3;
  return tree.substr(begin, tree.find('\n', begin) - begin);
}

using Look = std::string (*)(const std::string& tree, const std::string& path);

// What is to be seen at the paths, joined by commas, in the states at which everything has been
// acknowledged.
Set seen(const std::set<ReferenceState>& states, const std::vector<std::string>& paths, Look look) {
  std::size_t all = 0;
  for (const auto& state : states) all = std::max(all, state.acknowledged);
  Set result;
  for (const auto& state : states) {
    if (state.acknowledged != all) continue;
    std::string text;
    for (const auto& path : paths) text += (text.empty() ? "" : ", ") + look(state.tree, path);
    result.insert(text);
  }
  return result;
}

struct Expected {
  const char* models;  // separated by spaces
  Set seen;
};

// After the last call of `builder`, which all models are asked about.
void expect_seen(TraceBuilder& builder, const std::vector<std::string>& paths,
                 const std::vector<Expected>& expected, Look look = content) {
  builder.acknowledge("done");
  const Trace trace = builder.finish();
  std::size_t models = 0;
  for (const auto& [names, answer] : expected) {
    std::istringstream words(names);
    for (std::string model; words >> model; ++models) {
      SCOPED_TRACE(model);
      EXPECT_EQ(seen(rendered_states(trace, model, kBasis).states, paths, look), answer);
      if (reference_micro_operation_count(trace, model, kBasis) <= 14) {
        EXPECT_EQ(seen(reference_states(trace, model, kBasis), paths, look), answer) << "reference";
      }
    }
  }
  EXPECT_EQ(models, 5U) << "a model has no answer, or two";
}

// A file of ten bytes.
FileId file_of(TraceBuilder& builder, const std::string& path, char byte) {
  const FileId file = builder.create(path);
  builder.append(file, repeated(10, byte));
  return file;
}

TEST(Rename, OverAFileOfWhatWasNeverSynced) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  file_of(builder, "t", 'n');
  builder.rename("t", "f");
  expect_seen(builder, {"f"},
              {{"posix", {"10*o", "empty", "10*\\0", "10*n"}},
               {"ext4", {"10*o", "10*\\0", "10*n"}},
               {"xfs btrfs", {"10*o", "empty", "10*n"}},
               {"kill", {"10*n"}}});
}

TEST(Rename, OverAFileOfWhatWasSynced) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  builder.fsync(file_of(builder, "t", 'n'));
  builder.rename("t", "f");
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "10*n"}}, {"kill", {"10*n"}}});
}

TEST(Rename, OfAWriteOfTwoSectorsThatWasNeverSynced) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  builder.append(builder.create("t"), repeated(1000, 'n'));
  builder.rename("t", "f");
  expect_seen(builder, {"f"},
              {{"posix",
                {"10*o", "empty", "512*\\0", "512*n", "1000*\\0", "512*n 488*\\0", "512*\\0 488*n",
                 "1000*n"}},
               {"ext4", {"10*o", "1000*\\0", "512*n 488*\\0", "512*\\0 488*n", "1000*n"}},
               {"xfs btrfs", {"10*o", "empty", "1000*n"}},
               {"kill", {"1000*n"}}});
}

TEST(Rename, OverAFileOfWhatWasOverwritten) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  const FileId file = file_of(builder, "t", 't');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.rename("t", "f");
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs", {"10*o", "10*t", "10*n"}}, {"kill", {"10*n"}}});
}

TEST(Rename, ToANewNameWithOnlyTheDirectorySynced) {
  TraceBuilder builder;
  builder.start();
  file_of(builder, "t", 'n');
  builder.rename("t", "f");
  builder.fsync(kRootFile);
  expect_seen(builder, {"f", "t"},
              {{"posix ext4", {"empty, absent", "10*\\0, absent", "10*n, absent"}},
               {"xfs btrfs", {"empty, absent", "10*n, absent"}},
               {"kill", {"10*n, absent"}}});
}

TEST(Rename, IsInOrderOfAnother) {
  TraceBuilder builder;
  file_of(builder, "a", 'a');
  file_of(builder, "c", 'c');
  builder.start();
  builder.rename("a", "b");
  builder.rename("c", "d");
  expect_seen(
      builder, {"a", "b", "c", "d"},
      {{"posix",
        {"10*a, absent, 10*c, absent", "absent, 10*a, 10*c, absent", "10*a, absent, absent, 10*c",
         "absent, 10*a, absent, 10*c"}},
       {"ext4 xfs btrfs",
        {"10*a, absent, 10*c, absent", "absent, 10*a, 10*c, absent", "absent, 10*a, absent, 10*c"}},
       {"kill", {"absent, 10*a, absent, 10*c"}}});
}

TEST(Rename, IsInAnyOrderOnBtrfsAfterAnyFsync) {
  TraceBuilder builder;
  file_of(builder, "a", 'a');
  file_of(builder, "c", 'c');
  const FileId other = file_of(builder, "other", 'x');
  builder.start();
  builder.rename("a", "b");
  builder.rename("c", "d");
  builder.fsync(other);
  expect_seen(builder, {"b", "d"},
              {{"posix btrfs", {"absent, absent", "10*a, absent", "absent, 10*c", "10*a, 10*c"}},
               {"ext4 xfs", {"absent, absent", "10*a, absent", "10*a, 10*c"}},
               {"kill", {"10*a, 10*c"}}});
}

TEST(Rename, AcrossDirectoriesOfWhichOnlyTheNewOneIsSynced) {
  TraceBuilder builder;
  builder.mkdir("a");
  const FileId to = builder.mkdir("b");
  file_of(builder, "a/f", 'o');
  builder.start();
  builder.rename("a/f", "b/f");
  builder.fsync(to);
  expect_seen(
      builder, {"a/f", "b/f"},
      {{"posix btrfs", {"10*o, 10*o", "absent, 10*o"}}, {"ext4 xfs kill", {"absent, 10*o"}}});
}

TEST(Rename, AcrossDirectoriesThatAreNotSynced) {
  TraceBuilder builder;
  builder.mkdir("a");
  builder.mkdir("b");
  file_of(builder, "a/f", 'o');
  builder.start();
  builder.rename("a/f", "b/f");
  expect_seen(builder, {"a/f", "b/f"},
              {{"posix", {"10*o, absent", "10*o, 10*o", "absent, absent", "absent, 10*o"}},
               {"btrfs", {"10*o, absent", "10*o, 10*o", "absent, 10*o"}},
               {"ext4 xfs", {"10*o, absent", "absent, 10*o"}},
               {"kill", {"absent, 10*o"}}});
}

TEST(Rename, OfADirectoryAcrossDirectoriesIsAtomic) {
  TraceBuilder builder;
  builder.mkdir("a");
  builder.mkdir("b");
  builder.mkdir("a/d");
  file_of(builder, "a/d/f", 'o');
  builder.start();
  builder.rename("a/d", "b/d");
  expect_seen(
      builder, {"a/d/f", "b/d/f"},
      {{"posix ext4 xfs btrfs", {"10*o, absent", "absent, 10*o"}}, {"kill", {"absent, 10*o"}}});
}

TEST(Exchange, IsAtomicWithinADirectory) {
  TraceBuilder builder;
  file_of(builder, "a", 'a');
  file_of(builder, "b", 'b');
  builder.start();
  builder.rename("a", "b", RENAME_EXCHANGE);
  expect_seen(builder, {"a", "b"},
              {{"posix ext4 xfs btrfs", {"10*a, 10*b", "10*b, 10*a"}}, {"kill", {"10*b, 10*a"}}});
}

TEST(Exchange, AcrossDirectories) {
  TraceBuilder builder;
  builder.mkdir("d");
  file_of(builder, "a", 'a');
  file_of(builder, "d/b", 'b');
  builder.start();
  builder.rename("a", "d/b", RENAME_EXCHANGE);
  expect_seen(builder, {"a", "d/b"},
              {{"posix", {"10*a, 10*b", "10*a, 10*a", "10*b, 10*b", "10*b, 10*a"}},
               {"btrfs", {"10*a, 10*b", "10*a, 10*a", "10*b, 10*a"}},
               {"ext4 xfs", {"10*a, 10*b", "10*b, 10*a"}},
               {"kill", {"10*b, 10*a"}}});
}

// An exchange replaces nothing, so no file system flushes for its sake.
TEST(Exchange, OfWhatWasNeverSynced) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  file_of(builder, "t", 'n');
  builder.rename("t", "f", RENAME_EXCHANGE);
  expect_seen(builder, {"f"},
              {{"posix ext4", {"10*o", "empty", "10*\\0", "10*n"}},
               {"xfs btrfs", {"10*o", "empty", "10*n"}},
               {"kill", {"10*n"}}});
}

TEST(Fsync, OfADirectoryPersistsTheNamesInIt) {
  TraceBuilder builder;
  const FileId a = builder.mkdir("a");
  builder.mkdir("b");
  file_of(builder, "a/gone", 'g');
  builder.start();
  builder.create("b/other");
  builder.create("a/f");
  builder.unlink("a/gone");
  builder.fsync(a);
  expect_seen(builder, {"a/f", "a/gone", "b/other"},
              {{"posix btrfs", {"empty, absent, absent", "empty, absent, empty"}},
               {"ext4 xfs kill", {"empty, absent, empty"}}});
}

TEST(Fsync, OfANewFileAndItsName) {
  TraceBuilder builder;
  builder.start();
  builder.mkdir("d");
  builder.mkdir("d/e");
  builder.fsync(file_of(builder, "d/e/f", 'n'));
  expect_seen(builder, {"d/e/f"},
              {{"posix", {"absent", "10*n"}}, {"ext4 xfs btrfs kill", {"10*n"}}});
}

TEST(Fsync, OfANewDirectoryAndTheNamesAboveIt) {
  TraceBuilder builder;
  builder.start();
  builder.mkdir("d");
  builder.fsync(builder.mkdir("d/e"));
  expect_seen(builder, {"d/e"},
              {{"posix", {"absent", "40755 0:0"}}, {"ext4 xfs btrfs kill", {"40755 0:0"}}});
}

// What the log says of a file is that it has no name there any more, not that the directory is
// gone.
TEST(Fsync, OfAFileThatLeftADirectoryWhichIsGone) {
  TraceBuilder builder;
  builder.mkdir("d");
  const FileId file = file_of(builder, "d/f", 'o');
  builder.start();
  builder.rename("d/f", "f");
  builder.rmdir("d");
  builder.fsync(file);
  expect_seen(builder, {"f", "d", "d/f"},
              {{"posix",
                {"absent, 40755 0:0, 10*o", "absent, 40755 0:0, absent", "absent, absent, absent",
                 "10*o, 40755 0:0, 10*o", "10*o, 40755 0:0, absent", "10*o, absent, absent"}},
               {"ext4 xfs btrfs", {"10*o, 40755 0:0, absent", "10*o, absent, absent"}},
               {"kill", {"10*o, absent, absent"}}});
}

// Another file, which has grown: its size has to be committed, and all that came before with it.
TEST(Fsync, OfAChangedFileCommitsEarlierMetadata) {
  TraceBuilder builder;
  const FileId other = file_of(builder, "other", 'o');
  file_of(builder, "gone", 'g');
  builder.start();
  builder.create("made");
  builder.unlink("gone");
  builder.append(other, "more");
  builder.fsync(other);
  expect_seen(builder, {"made", "gone"},
              {{"posix btrfs", {"absent, 10*g", "absent, absent", "empty, 10*g", "empty, absent"}},
               {"ext4 xfs kill", {"empty, absent"}}});
}

TEST(Fsync, OfACleanFileCommitsNothing) {
  TraceBuilder builder;
  const FileId other = file_of(builder, "other", 'o');
  file_of(builder, "gone", 'g');
  builder.start();
  builder.create("made");
  builder.unlink("gone");
  builder.fsync(other);
  expect_seen(builder, {"made", "gone"},
              {{"posix btrfs", {"absent, 10*g", "absent, absent", "empty, 10*g", "empty, absent"}},
               {"ext4 xfs", {"absent, 10*g", "empty, 10*g", "empty, absent"}},
               {"kill", {"empty, absent"}}});
}

TEST(Fdatasync, AfterAPlainOverwriteCommitsNothing) {
  TraceBuilder builder;
  const FileId other = file_of(builder, "other", 'o');
  builder.start();
  builder.create("made");
  builder.write(other, 0, "new");
  builder.fdatasync(other);
  expect_seen(builder, {"made"},
              {{"posix ext4 xfs btrfs", {"absent", "empty"}}, {"kill", {"empty"}}});
}

TEST(Fdatasync, AfterAnExtensionCommitsEarlierMetadata) {
  TraceBuilder builder;
  const FileId other = file_of(builder, "other", 'o');
  builder.start();
  builder.create("made");
  builder.append(other, "nnn");
  builder.fdatasync(other);
  expect_seen(builder, {"made", "other"},
              {{"posix btrfs", {"absent, 10*o 3*n", "empty, 10*o 3*n"}},
               {"ext4 xfs kill", {"empty, 10*o 3*n"}}});
}

TEST(Fdatasync, OfAFileThatWasLinkedCommitsNoName) {
  TraceBuilder builder;
  builder.start();
  const FileId file = builder.create_unnamed();
  builder.append(file, "nnn");
  builder.fsync(file);
  builder.link(file, "f");
  builder.fdatasync(file);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs", {"absent", "3*n"}}, {"btrfs kill", {"3*n"}}});
}

TEST(Fsync, OfAFileThatWasLinkedPersistsTheNameOnMostFileSystems) {
  TraceBuilder builder;
  builder.start();
  const FileId file = builder.create_unnamed();
  builder.append(file, "nnn");
  builder.fsync(file);
  builder.link(file, "f");
  builder.fsync(file);
  expect_seen(builder, {"f"}, {{"posix", {"absent", "3*n"}}, {"ext4 xfs btrfs kill", {"3*n"}}});
}

TEST(FailedFsync, PromisesNothingAndALaterOneCoversNoneOfIt) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.fsync(file, -EIO);
  builder.fsync(file);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "10*n"}}, {"kill", {"10*n"}}});
}

TEST(FailedFsync, LeavesALaterWriteToALaterFsync) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(1024, 'o'));
  builder.start();
  builder.write(file, 0, repeated(512, 'n'));
  builder.fsync(file, -EIO);
  builder.write(file, 512, repeated(512, 'm'));
  builder.fsync(file);
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs", {"512*o 512*m", "512*n 512*m"}},
               {"btrfs", {"512*o 512*m", "512*n 512*m"}},
               {"kill", {"512*n 512*m"}}});
}

// A sector holds what is written to it later together with what was written before.
TEST(FailedFsync, OfASectorThatIsWrittenAgain) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, "n");
  builder.fsync(file, -EIO);
  builder.write(file, 1, "m");
  builder.fsync(file);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs kill", {"1*n 1*m 8*o"}}});
}

TEST(FailedFsync, OfADirectoryLosesNamesForGood) {
  TraceBuilder builder;
  builder.start();
  builder.create("f");
  builder.fsync(kRootFile, -EIO);
  builder.fsync(kRootFile);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"absent", "empty"}}, {"kill", {"empty"}}});
}

TEST(FailedSyncfs, MakesALaterOneWorthless) {
  TraceBuilder builder;
  builder.start();
  builder.create("f");
  builder.syncfs(-EIO);
  builder.syncfs();
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"absent", "empty"}}, {"kill", {"empty"}}});
}

TEST(Append, WithinABlock) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.append(file, "nnn");
  expect_seen(builder, {"f"},
              {{"posix ext4", {"10*o", "10*o 3*\\0", "10*o 3*n"}},
               {"xfs btrfs", {"10*o", "10*o 3*n"}},
               {"kill", {"10*o 3*n"}}});
}

TEST(Append, AcrossABlock) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(4090, 'o'));
  builder.start();
  builder.append(file, repeated(10, 'n'));
  expect_seen(builder, {"f"},
              {{"posix ext4",
                {"4090*o", "4090*o 6*\\0", "4090*o 6*n", "4090*o 10*\\0", "4090*o 6*n 4*\\0",
                 "4090*o 6*\\0 4*n", "4090*o 10*n"}},
               {"xfs btrfs", {"4090*o", "4090*o 6*n", "4090*o 10*n"}},
               {"kill", {"4090*o 10*n"}}});
}

TEST(Append, OfTwoSectorsStopsBetweenThemNowhereButOnPosix) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.append(file, repeated(1000, 'n'));
  const Set whole{"empty", "1000*\\0", "512*n 488*\\0", "512*\\0 488*n", "1000*n"};
  Set posix = whole;
  posix.insert({"512*\\0", "512*n"});
  expect_seen(builder, {"f"},
              {{"posix", posix},
               {"ext4", whole},
               {"xfs btrfs", {"empty", "1000*n"}},
               {"kill", {"1000*n"}}});
}

TEST(Overwrites, OfOneFilePersistInAnyOrder) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(8192, 'o'));
  builder.start();
  builder.write(file, 0, repeated(512, 'm'));
  builder.write(file, 4096, repeated(512, 'n'));
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs",
                {"8192*o", "512*m 7680*o", "4096*o 512*n 3584*o", "512*m 3584*o 512*n 3584*o"}},
               {"kill", {"512*m 3584*o 512*n 3584*o"}}});
}

TEST(Overwrites, OfTwoFilesPersistInAnyOrder) {
  TraceBuilder builder;
  const FileId f = file_of(builder, "f", 'o');
  const FileId g = file_of(builder, "g", 'o');
  builder.start();
  builder.write(f, 0, repeated(10, 'n'));
  builder.write(g, 0, repeated(10, 'n'));
  expect_seen(builder, {"f", "g"},
              {{"posix ext4 xfs btrfs", {"10*o, 10*o", "10*n, 10*o", "10*o, 10*n", "10*n, 10*n"}},
               {"kill", {"10*n, 10*n"}}});
}

TEST(Overwrites, OfOneSectorPersistInOrder) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, "n");
  builder.write(file, 9, "m");
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs btrfs", {"10*o", "1*n 9*o", "1*n 8*o 1*m"}}, {"kill", {"1*n 8*o 1*m"}}});
}

TEST(Overwrites, TearABlockAtSectorsWhereThereIsNoCopyOnWrite) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(1024, 'o'));
  builder.start();
  builder.write(file, 0, repeated(1024, 'n'));
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs", {"1024*o", "512*n 512*o", "512*o 512*n", "1024*n"}},
               {"btrfs", {"1024*o", "1024*n"}},
               {"kill", {"1024*n"}}});
}

TEST(NoBarrier, IsSyncFileRange) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.sync_file_range(file, 0, 4096);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "10*n"}}, {"kill", {"10*n"}}});
}

TEST(NoBarrier, IsClose) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.sync_file_range(file, 0, 0);
  builder.last().row = Row::k_close;
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "10*n"}}, {"kill", {"10*n"}}});
}

TEST(Dsync, IsABarrierForItsOwnWrite) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.append(file, "nnn", WriteSync::kData);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs kill", {"10*o 3*n"}}});
}

TEST(Dsync, IsNoBarrierForTheRestOfTheFile) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(1024, 'o'));
  builder.start();
  builder.write(file, 0, repeated(512, 'm'));
  builder.write(file, 512, repeated(512, 'n'), WriteSync::kData);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs btrfs", {"512*o 512*n", "512*m 512*n"}}, {"kill", {"512*m 512*n"}}});
}

// What was written elsewhere in the file may wait.
TEST(Sync, OfAWriteIsABarrierForItsRangeAndTheAttributes) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(1024, 'o'));
  builder.start();
  builder.chmod(file, 0600);
  builder.write(file, 0, repeated(512, 'm'));
  builder.write(file, 512, repeated(512, 'n'), WriteSync::kFile);
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs",
                {"100600 0:0 size 1024 512*o 512*n", "100600 0:0 size 1024 512*m 512*n"}},
               {"kill", {"100600 0:0 size 1024 512*m 512*n"}}},
              line);
}

TEST(Dsync, ThatFailedPromisesNothing) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'), WriteSync::kData);
  builder.last().result = -EIO;
  builder.fsync(file);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "10*n"}}, {"kill", {"10*n"}}});
}

TEST(Msync, IsABarrierForItsPages) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(8192, 'o'));
  builder.start();
  builder.write(file, 4096, repeated(4096, 'm'), WriteSync::kNone);
  builder.msync(file, 0, repeated(4096, 'n'));
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs",
                {"4096*n 4096*o", "4096*n 512*m 3584*o", "4096*n 512*o 3584*m", "4096*n 4096*m"}},
               {"btrfs", {"4096*n 4096*o", "4096*n 4096*m"}},
               {"kill", {"4096*n 4096*m"}}});
}

TEST(Msync, CoversAWriteToItsPages) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(4096, 'o'));
  builder.start();
  builder.write(file, 2048, repeated(512, 'm'));
  builder.msync(file, 0, "n");
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs kill", {"1*n 2047*o 512*m 1536*o"}}});
}

TEST(Syncfs, IsABarrierForEverything) {
  TraceBuilder builder;
  const FileId old = file_of(builder, "old", 'o');
  builder.mkdir("d");
  builder.start();
  file_of(builder, "d/f", 'n');
  builder.chmod(old, 0600);
  builder.rename("old", "d/new");
  builder.syncfs();
  expect_seen(
      builder, {"d/f", "d/new", "old"},
      {{"posix ext4 xfs btrfs kill", {"100644 0:0 size 10 10*n, 100600 0:0 size 10 10*o, absent"}}},
      line);
}

TEST(Link, IsThereOrNot) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  builder.link("f", "g");
  expect_seen(builder, {"f", "g"},
              {{"posix ext4 xfs btrfs", {"10*o, absent", "10*o, 10*o"}}, {"kill", {"10*o, 10*o"}}});
}

TEST(Unlink, IsThereOrNot) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  builder.unlink("f");
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "absent"}}, {"kill", {"absent"}}});
}

TEST(Unlink, AndACreateAreInOrder) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  builder.unlink("f");
  builder.create("g");
  expect_seen(builder, {"f", "g"},
              {{"posix", {"10*o, absent", "absent, absent", "10*o, empty", "absent, empty"}},
               {"ext4 xfs btrfs", {"10*o, absent", "absent, absent", "absent, empty"}},
               {"kill", {"absent, empty"}}});
}

TEST(Unlink, AndACreateOfTheSameNameAreInOrderEverywhere) {
  TraceBuilder builder;
  file_of(builder, "f", 'o');
  builder.start();
  builder.unlink("f");
  builder.create("f");
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs", {"10*o", "absent", "empty"}}, {"kill", {"empty"}}});
}

TEST(TemporaryFile, WithANameOnlyOnceItIsWhole) {
  TraceBuilder builder;
  builder.start();
  const FileId file = builder.create_unnamed();
  builder.append(file, "nnn");
  builder.fsync(file);
  builder.link(file, "f");
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"absent", "3*n"}}, {"kill", {"3*n"}}});
}

TEST(TemporaryFile, WithANameBeforeItsDataIsSynced) {
  TraceBuilder builder;
  builder.start();
  const FileId file = builder.create_unnamed();
  builder.append(file, "nnn");
  builder.link(file, "f");
  builder.fsync(kRootFile);
  expect_seen(builder, {"f"},
              {{"posix ext4", {"empty", "3*\\0", "3*n"}},
               {"xfs btrfs", {"empty", "3*n"}},
               {"kill", {"3*n"}}});
}

TEST(Mkdir, ChainsPersistFromTheTopOnMostFileSystems) {
  TraceBuilder builder;
  builder.start();
  const FileId d = builder.mkdir("d");
  builder.mkdir("d/e");
  builder.create("d/e/f");
  builder.fsync(d);
  expect_seen(
      builder, {"d", "d/e", "d/e/f"},
      {{"posix",
        {"absent, absent, absent", "40755 0:0, 40755 0:0, absent", "40755 0:0, 40755 0:0, empty"}},
       {"ext4 xfs btrfs", {"40755 0:0, 40755 0:0, absent", "40755 0:0, 40755 0:0, empty"}},
       {"kill", {"40755 0:0, 40755 0:0, empty"}}});
}

// The transaction that the fsync waits for is that of the file's last change.
TEST(Fsync, CommitsNoMetadataThatCameAfterTheLastChangeOfTheFile) {
  TraceBuilder builder;
  const FileId other = file_of(builder, "other", 'o');
  builder.start();
  builder.create("before");
  builder.append(other, "nnn");
  builder.create("after");
  builder.fsync(other);
  expect_seen(
      builder, {"before", "after"},
      {{"posix btrfs", {"absent, absent", "absent, empty", "empty, absent", "empty, empty"}},
       {"ext4 xfs", {"empty, absent", "empty, empty"}},
       {"kill", {"empty, empty"}}});
}

TEST(Dsync, MayLeaveWhatWasAppendedBefore) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.append(file, repeated(5000, 'm'));
  builder.append(file, "nnn", WriteSync::kData);
  builder.acknowledge("done");
  const Trace trace = builder.finish();
  const auto has_zeros = [&](const char* model) {
    const auto looks = seen(rendered_states(trace, model, kBasis).states, {"f"}, content);
    return std::ranges::any_of(
        looks, [](const std::string& look) { return look.find("*\\0") != std::string::npos; });
  };
  for (const char* model : {"posix", "ext4", "xfs", "btrfs"})
    EXPECT_TRUE(has_zeros(model)) << model;
  EXPECT_FALSE(has_zeros("kill"));
}

TEST(Syncfs, OfAnOverwriteMayLeaveItInTheDisksCache) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.syncfs();
  expect_seen(builder, {"f"}, {{"xfs", {"10*o", "10*n"}}, {"posix ext4 btrfs kill", {"10*n"}}});
}

TEST(Punch, OfPartOfABlockTears) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(4096, 'o'));
  builder.start();
  builder.fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1024);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs", {"4096*o", "512*\\0 3584*o", "512*o 512*\\0 3072*o", "1024*\\0 3072*o"}},
       {"btrfs", {"4096*o", "1024*\\0 3072*o"}},
       {"kill", {"1024*\\0 3072*o"}}});
}

TEST(Truncation, AtABlockIsAtomic) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(9000, 'o'));
  builder.start();
  builder.truncate(file, 4096);
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs", {"9000*o", "4096*o"}}, {"kill", {"4096*o"}}});
}

// The rest of the block is zeroed in memory, and may be written before the size is.
TEST(Truncation, InsideABlockZeroesItsTailFirst) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(5000, 'o'));
  builder.start();
  builder.truncate(file, 10);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs",
        {"5000*o", "10*o 502*\\0 4488*o", "512*o 3584*\\0 904*o", "10*o 4086*\\0 904*o", "10*o"}},
       {"btrfs", {"5000*o", "10*o"}},
       {"kill", {"10*o"}}});
}

TEST(Truncation, AndAnAppendToTheSameBlock) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(3000, 'o'));
  builder.start();
  builder.truncate(file, 1024);
  builder.write(file, 1024, repeated(512, 'n'));
  expect_seen(builder, {"f"},
              {{"posix ext4",
                {"3000*o", "1024*o", "1024*o 512*\\0", "1024*o 512*n", "1024*o 1976*\\0",
                 "1024*o 512*n 1464*\\0", "1024*o 512*n 1464*o", "1024*o 512*\\0 1464*o",
                 "1536*o 1464*\\0"}},
               {"xfs",
                {"3000*o", "1024*o", "1024*o 512*n", "1024*o 1976*\\0", "1024*o 512*n 1464*\\0",
                 "1024*o 512*n 1464*o", "1024*o 512*\\0 1464*o", "1536*o 1464*\\0"}},
               {"btrfs", {"3000*o", "1024*o", "1024*o 512*n"}},
               {"kill", {"1024*o 512*n"}}});
}

TEST(Truncation, ToMoreAfterwardsShowsZeros) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(100, 'o'));
  builder.start();
  builder.truncate(file, 10);
  builder.truncate(file, 100);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs btrfs", {"100*o", "10*o", "10*o 90*\\0"}}, {"kill", {"10*o 90*\\0"}}});
}

TEST(Truncation, ByOpenAndAWriteMayLeaveTheFileEmpty) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.open_truncating(file);
  builder.append(file, "nnn");
  expect_seen(builder, {"f"},
              {{"posix ext4", {"10*o", "empty", "3*\\0", "3*n"}},
               {"xfs btrfs", {"10*o", "empty", "3*n"}},
               {"kill", {"3*n"}}});
}

TEST(Fallocate, GrowsTheFileInOneStep) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.fallocate(file, 0, 0, 10000);
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs", {"10*o", "10*o 9990*\\0"}}, {"kill", {"10*o 9990*\\0"}}});
}

TEST(Fallocate, WithKeepSizeShowsNothing) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 10000);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs kill", {"10*o"}}});
}

TEST(Punch, IsAtomicWithinABlockOnly) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(8192, 'o'));
  builder.start();
  builder.fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs btrfs", {"8192*o", "4096*\\0 4096*o", "4096*o 4096*\\0", "8192*\\0"}},
       {"kill", {"8192*\\0"}}});
}

TEST(ZeroRange, BeyondTheEndSetsTheSize) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.fallocate(file, FALLOC_FL_ZERO_RANGE, 5, 15);
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs", {"10*o", "5*o 5*\\0", "10*o 10*\\0", "5*o 15*\\0"}},
               {"kill", {"5*o 15*\\0"}}});
}

TEST(Copy, PersistsAsAWriteDoes) {
  for (const Row row : {Row::k_copy_file_range, Row::k_sendfile}) {
    TraceBuilder builder;
    const FileId source = file_of(builder, "source", 'n');
    const FileId file = file_of(builder, "f", 'o');
    builder.start();
    builder.copy(source, 0, file, 10, 10);
    builder.last().row = row;
    expect_seen(builder, {"f"},
                {{"posix ext4", {"10*o", "10*o 10*\\0", "10*o 10*n"}},
                 {"xfs btrfs", {"10*o", "10*o 10*n"}},
                 {"kill", {"10*o 10*n"}}});
  }
}

TEST(Attributes, ArePersistedByFsyncAndNotByFdatasync) {
  for (const bool full : {true, false}) {
    TraceBuilder builder;
    const FileId file = builder.create("f");
    builder.start();
    builder.chmod(file, 0600);
    builder.setxattr(file, "user.k", "v");
    if (full) {
      builder.fsync(file);
    } else {
      builder.fdatasync(file);
    }
    const std::string neither = "100644 0:0 size 0", mode = "100600 0:0 size 0",
                      attribute = neither + " user.k='v'", both = mode + " user.k='v'";
    if (full) {
      expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs kill", {both}}}, line);
    } else {
      expect_seen(builder, {"f"},
                  {{"posix btrfs", {neither, mode, attribute, both}},
                   {"ext4 xfs", {neither, mode, both}},
                   {"kill", {both}}},
                  line);
    }
  }
}

TEST(Attributes, AreInOrderOfNames) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.chmod(file, 0600);
  builder.rename("f", "g");
  const std::string old = "100644 0:0 size 10 10*o", changed = "100600 0:0 size 10 10*o";
  expect_seen(
      builder, {"f", "g"},
      {{"posix", {old + ", absent", changed + ", absent", "absent, " + old, "absent, " + changed}},
       {"ext4 xfs btrfs", {old + ", absent", changed + ", absent", "absent, " + changed}},
       {"kill", {"absent, " + changed}}},
      line);
}

TEST(Write, AfterTheRenameOfItsFile) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.rename("f", "g");
  builder.write(file, 0, repeated(10, 'n'));
  expect_seen(
      builder, {"f", "g"},
      {{"posix ext4 xfs btrfs", {"10*o, absent", "absent, 10*o", "10*n, absent", "absent, 10*n"}},
       {"kill", {"absent, 10*n"}}});
}

TEST(Write, AfterTheUnlinkOfItsFile) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.unlink("f");
  builder.write(file, 0, repeated(10, 'n'));
  expect_seen(builder, {"f"},
              {{"posix ext4 xfs btrfs", {"10*o", "10*n", "absent"}}, {"kill", {"absent"}}});
}

TEST(Kill, LeavesACallThatWasUnderWayInPart) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, repeated(8192, 'o'));
  builder.start();
  builder.acknowledge("began");
  builder.write(file, 0, repeated(8192, 'n'));
  builder.never_returns();
  const Trace trace = builder.finish();
  EXPECT_EQ(seen(rendered_states(trace, "kill", kBasis).states, {"f"}, content),
            (Set{"8192*o", "4096*n 4096*o", "8192*n"}));
}

// Two asynchronous direct writes that extend a file: the second may be done first.
TEST(AtOnce, NoSizeWaitsForDataOfAnotherWrite) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.append(file, repeated(512, 'a'));
  builder.append(file, repeated(512, 'b'));
  builder.concurrent(2);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs btrfs",
        {"empty", "512*\\0", "512*a", "1024*\\0", "512*a 512*\\0", "512*\\0 512*b", "512*a 512*b"}},
       {"kill", {"512*a 512*b"}}});
}

// One after the other they are done in order, where sizes wait for data.
TEST(AtOnce, IsNotOneAfterTheOther) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.append(file, repeated(512, 'a'));
  builder.append(file, repeated(512, 'b'));
  expect_seen(
      builder, {"f"},
      {{"posix ext4",
        {"empty", "512*\\0", "512*a", "1024*\\0", "512*a 512*\\0", "512*\\0 512*b", "512*a 512*b"}},
       {"xfs btrfs", {"empty", "512*a", "512*a 512*b"}},
       {"kill", {"512*a 512*b"}}});
}

// A completion that the program never took.
TEST(AtOnce, AnFsyncCoversNoWriteThatHasNotEnded) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.append(file, repeated(512, 'a'));
  builder.never_returns();
  builder.append(file, repeated(512, 'b'));
  builder.fsync(file);
  expect_seen(
      builder, {"f"},
      {{"posix ext4 xfs btrfs", {"512*\\0 512*b", "512*a 512*b"}}, {"kill", {"512*a 512*b"}}});
}

TEST(AtOnce, AFailedFsyncSpoilsTheWriteBesideIt) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.fsync(file, -EIO);
  builder.concurrent(2);
  builder.fsync(file);
  expect_seen(builder, {"f"}, {{"posix ext4 xfs btrfs", {"10*o", "10*n"}}, {"kill", {"10*n"}}});
}

// The sync may have begun its work after the renames.
TEST(AtOnce, AnFsyncUnderWayFreesNamesOfTheirOrder) {
  TraceBuilder builder;
  builder.create("a");
  builder.create("c");
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.fsync(file);
  builder.rename("a", "b");
  builder.rename("c", "d");
  builder.concurrent(3);
  expect_seen(
      builder, {"b", "d"},
      {{"posix btrfs", {"absent, absent", "empty, absent", "absent, empty", "empty, empty"}},
       {"ext4 xfs", {"absent, absent", "empty, absent", "empty, empty"}},
       {"kill", {"empty, empty"}}});
}

// The states before an acknowledgement are not those after it.
TEST(Acknowledgements, AreToldOnceTheirEventHasEnded) {
  TraceBuilder builder;
  const FileId file = file_of(builder, "f", 'o');
  builder.start();
  builder.write(file, 0, repeated(10, 'n'));
  builder.fsync(file);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  for (const char* model : {"posix", "ext4", "xfs", "btrfs", "kill"}) {
    Set states;
    for (const auto& state : rendered_states(trace, model, kBasis).states) {
      states.insert(std::to_string(state.acknowledged) + ' ' + content(state.tree, "f"));
    }
    EXPECT_EQ(states, (Set{"0 10*o", "0 10*n", "2 10*n"})) << model;
  }
}

}  // namespace
}  // namespace crashgate::harness
