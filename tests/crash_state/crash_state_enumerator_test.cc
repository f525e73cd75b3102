#include "harness/crash_state/crash_state_enumerator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

const PersistenceModel& model(std::string_view name) {
  return *find_model(name);
}

std::string content_of(const TreeFile& file) {
  std::string text(file.size, '\0');
  for (const ContentPiece& piece : file.content) {
    text.replace(piece.offset, piece.bytes.size(), piece.bytes);
  }
  return text;
}

/// Runs of a byte are counted: "aaaabb" is "4a2b", a zero is "0".
std::string short_form(const std::string& text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_not_of(text[at], at), text.size());
    const std::string byte(1, text[at] == '\0' ? '0' : text[at]);
    result += end - at > 3 ? std::to_string(end - at) + "*" + byte : "";
    for (std::size_t left = end - at > 3 ? 0 : end - at; left > 0; --left) result += byte;
    at = end;
  }
  return result;
}

std::string text_of(const DirectoryTree& tree, FileId id, const std::string& path) {
  std::string text;
  for (const auto& [name, child] : tree.files.at(id).entries) {
    const TreeFile& file = tree.files.at(child);
    if (!text.empty()) text += " ";
    text += path + name;
    if (S_ISDIR(file.mode)) {
      text += "/";
      if (const std::string below = text_of(tree, child, path + name + "/"); !below.empty()) {
        text += " " + below;
      }
    } else {
      text += "=" + short_form(content_of(file));
    }
  }
  return text;
}

/// A tree and what had been acknowledged, as text.
using Found = std::pair<std::string, std::string>;

std::set<Found> states_of(const Trace& trace, const PersistenceModel& model,
                          EnumerationOptions options = {}) {
  CrashStateEnumerator enumerator(trace, model, options);
  std::set<Found> found;
  const std::string told = acknowledgements(trace);
  std::size_t count = 0;
  while (const CrashState* state = enumerator.next()) {
    EXPECT_EQ(state->tree_hash, hash_of(*state->tree));
    found.emplace(text_of(*state->tree, state->tree->root, ""),
                  told.substr(0, state->acknowledgement_end));
    ++count;
  }
  EXPECT_EQ(count, enumerator.states_given());
  EXPECT_TRUE(enumerator.exhaustive());
  return found;
}

std::set<std::string> trees_of(const Trace& trace, std::string_view name) {
  std::set<std::string> trees;
  for (const auto& [tree, told] : states_of(trace, model(name))) trees.insert(tree);
  return trees;
}

using Trees = std::set<std::string>;

TEST(CrashStateEnumerator, NothingHappened) {
  TraceBuilder builder;
  builder.create("f");
  builder.start();
  const Trace trace = builder.finish();
  for (const PersistenceModel& each : models()) {
    EXPECT_EQ(states_of(trace, each), (std::set<Found>{{"f=", ""}})) << each.name;
  }
}

TEST(CrashStateEnumerator, CreateAndWrite) {
  TraceBuilder builder;
  builder.append(builder.create("f"), "abc");
  const Trace trace = builder.finish();
  EXPECT_EQ(trees_of(trace, "posix"), (Trees{"", "f=", "f=000", "f=abc"}));
  EXPECT_EQ(trees_of(trace, "ext4"), (Trees{"", "f=", "f=000", "f=abc"}));
  EXPECT_EQ(trees_of(trace, "xfs"), (Trees{"", "f=", "f=abc"}));
  EXPECT_EQ(trees_of(trace, "btrfs"), (Trees{"", "f=", "f=abc"}));
  EXPECT_EQ(trees_of(trace, "kill"), (Trees{"", "f=", "f=abc"}));
}

TEST(CrashStateEnumerator, PutWithAllBarriers) {
  TraceBuilder builder;
  const FileId file = builder.create("t");
  builder.append(file, std::string(4096, 'a'));
  builder.fsync(file);
  builder.rename("t", "f");
  builder.fsync(kRootFile);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  EXPECT_EQ(states_of(trace, model("posix")), (std::set<Found>{{"", ""},
                                                               {"t=", ""},
                                                               {"t=512*0", ""},
                                                               {"t=512*a", ""},
                                                               {"t=4096*0", ""},
                                                               {"t=512*a3584*0", ""},
                                                               {"t=512*03584*a", ""},
                                                               {"t=4096*a", ""},
                                                               {"f=4096*a", ""},
                                                               {"f=4096*a", "ok"}}));
  EXPECT_EQ(states_of(trace, model("btrfs")),
            (std::set<Found>{
                {"", ""}, {"t=", ""}, {"t=4096*a", ""}, {"f=4096*a", ""}, {"f=4096*a", "ok"}}));
}

TEST(CrashStateEnumerator, PutWithoutSyncOfTheFile) {
  TraceBuilder builder;
  builder.append(builder.create("f"), "old");
  builder.start();
  builder.append(builder.create("t"), "new");
  builder.rename("t", "f");
  builder.fsync(kRootFile);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  const auto after = [&](std::string_view name) {
    Trees trees;
    for (const auto& [tree, told] : states_of(trace, model(name))) {
      if (told == "ok") trees.insert(tree);
    }
    return trees;
  };
  // The first row of the table in the design: old, new, empty, zeros; as far as the rename
  // persisted.
  EXPECT_EQ(after("posix"), (Trees{"f=", "f=000", "f=new"}));
  EXPECT_EQ(after("ext4"), (Trees{"f=000", "f=new"}));
  EXPECT_EQ(after("xfs"), (Trees{"f=", "f=new"}));
  EXPECT_EQ(after("btrfs"), (Trees{"f=", "f=new"}));
  EXPECT_EQ(after("kill"), (Trees{"f=new"}));
}

TEST(CrashStateEnumerator, FsyncOfAnotherFile) {
  TraceBuilder builder;
  builder.create("a");
  const FileId b = builder.create("b");
  builder.fsync(b);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  const auto after = [&](std::string_view name) {
    Trees trees;
    for (const auto& [tree, told] : states_of(trace, model(name))) {
      if (told == "ok") trees.insert(tree);
    }
    return trees;
  };
  EXPECT_EQ(after("posix"), (Trees{"", "a=", "b=", "a= b="}));
  EXPECT_EQ(after("ext4"), (Trees{"a= b="}));
  EXPECT_EQ(after("xfs"), (Trees{"a= b="}));
  EXPECT_EQ(after("btrfs"), (Trees{"b=", "a= b="}));
}

TEST(CrashStateEnumerator, FsyncOfACleanFileCommitsNothing) {
  TraceBuilder builder;
  const FileId clean = builder.create("c");
  builder.append(clean, std::string(512, 'c'));
  builder.start();
  builder.create("a");
  builder.write(clean, 0, std::string(512, 'd'));  // overwrites what it has
  builder.fsync(clean);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  for (const char* name : {"ext4", "xfs"}) {
    const auto states = states_of(trace, model(name));
    EXPECT_TRUE(states.contains({"c=512*d", "ok"})) << name;
    EXPECT_TRUE(states.contains({"a= c=512*d", "ok"})) << name;
    EXPECT_FALSE(states.contains({"c=512*c", "ok"})) << name;
  }
}

TEST(CrashStateEnumerator, RenameAcrossDirectories) {
  TraceBuilder builder;
  builder.mkdir("d");
  builder.mkdir("e");
  builder.create("d/f");
  builder.start();
  builder.rename("d/f", "e/f");
  const Trace trace = builder.finish();
  EXPECT_EQ(trees_of(trace, "posix"),
            (Trees{"d/ d/f= e/", "d/ d/f= e/ e/f=", "d/ e/", "d/ e/ e/f="}));
  EXPECT_EQ(trees_of(trace, "ext4"), (Trees{"d/ d/f= e/", "d/ e/ e/f="}));
  EXPECT_EQ(trees_of(trace, "btrfs"), (Trees{"d/ d/f= e/", "d/ d/f= e/ e/f=", "d/ e/ e/f="}));
}

TEST(CrashStateEnumerator, ADirectoryHasOneName) {
  TraceBuilder builder;
  builder.mkdir("a");
  builder.mkdir("b");
  builder.start();
  builder.rename("a", "b/a");
  builder.rename("b/a", "a");
  builder.rename("b", "a/b");
  const Trace trace = builder.finish();
  // "": the first and the last persisted, and each directory is in the other.
  EXPECT_EQ(trees_of(trace, "posix"), (Trees{"", "a/ b/", "b/ b/a/", "a/ a/b/"}));
  EXPECT_EQ(trees_of(trace, "btrfs"), (Trees{"a/ b/", "b/ b/a/", "a/ a/b/"}));
}

TEST(CrashStateEnumerator, MetadataInOrder) {
  TraceBuilder builder;
  builder.create("a");
  builder.create("b");
  builder.unlink("a");
  const Trace trace = builder.finish();
  EXPECT_EQ(trees_of(trace, "posix"), (Trees{"", "a=", "b=", "a= b="}));
  EXPECT_EQ(trees_of(trace, "ext4"), (Trees{"", "a=", "a= b=", "b="}));
  TraceBuilder freed;
  const FileId other = freed.create("o");
  freed.start();
  freed.create("a");
  freed.create("b");
  freed.fsync(other);
  freed.create("c");
  const Trace trace_with_fsync = freed.finish();
  EXPECT_EQ(trees_of(trace_with_fsync, "btrfs"),
            (Trees{"o=", "a= o=", "b= o=", "a= b= o=", "a= b= c= o="}));
  EXPECT_EQ(trees_of(trace_with_fsync, "xfs"), (Trees{"o=", "a= o=", "a= b= o=", "a= b= c= o="}));
}

TEST(CrashStateEnumerator, AFailedBarrierTaints) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, "...");
  builder.start();
  builder.write(file, 0, "abc");
  builder.fsync(file, -EIO);
  builder.fsync(file);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  for (const PersistenceModel& each : models()) {
    EXPECT_EQ(states_of(trace, each).contains({"f=...", "ok"}), each.name != "kill") << each.name;
  }
  // A later write to the same sector brings it along.
  TraceBuilder later;
  const FileId again = later.create("f");
  later.append(again, "...");
  later.start();
  later.write(again, 0, "a");
  later.fsync(again, -EIO);
  later.write(again, 1, "b");
  later.fsync(again);
  later.acknowledge("ok");
  const Trace second = later.finish();
  EXPECT_TRUE(states_of(second, model("posix")).contains({"f=ab.", "ok"}));
  EXPECT_EQ(states_of(second, model("posix")).size(), 4U);
}

TEST(CrashStateEnumerator, FsyncPersistsOwnNamesAndThoseOfTheDirectoriesAbove) {
  TraceBuilder builder;
  builder.mkdir("a");
  builder.create("a/x");
  builder.start();
  builder.rename("a/x", "x");
  builder.rmdir("a");  // named a directory that held x
  builder.mkdir("b");
  builder.mkdir("b/c");
  builder.create("b/c/y");
  builder.create("other");
  builder.fsync(builder.file("x"));
  builder.acknowledge("x");
  builder.fsync(builder.file("b/c/y"));
  builder.acknowledge("y");
  const auto states = states_of(builder.finish(), model("btrfs"));
  EXPECT_TRUE(states.contains({"a/ x=", "x"}));
  EXPECT_TRUE(states.contains({"x=", "x"}));
  EXPECT_FALSE(states.contains({"a/ a/x=", "x"}));
  EXPECT_TRUE(states.contains({"a/ b/ b/c/ b/c/y= x=", "xy"}));
  EXPECT_FALSE(states.contains({"a/ b/ b/c/ x=", "xy"}));
  EXPECT_EQ(std::ranges::count(states, "xy", &Found::second), 4);  // a or not, other or not
}

TEST(CrashStateEnumerator, SynchronousWrites) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, std::string(1024, '.'));
  builder.start();
  builder.write(file, 0, "a");
  builder.write(file, 512, "b", WriteSync::kData);
  builder.acknowledge("1");
  builder.write(file, 512, "c", WriteSync::kFile);
  builder.acknowledge("2");
  const Trace trace = builder.finish();
  const auto states = states_of(trace, model("posix"));
  EXPECT_TRUE(states.contains({"f=512*.b511*.", "1"}));
  EXPECT_FALSE(states.contains({"f=1024*.", "1"}));
  EXPECT_TRUE(states.contains({"f=a511*.c511*.", "12"}));
  EXPECT_TRUE(states.contains({"f=512*.c511*.", "12"}));  // written elsewhere, and not synced
  EXPECT_FALSE(states.contains({"f=a511*.b511*.", "12"}));
}

TEST(CrashStateEnumerator, KillLeavesAPrefix) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, std::string(8192, 'a'));
  builder.truncate(file, 100);
  const Trace trace = builder.finish();
  EXPECT_EQ(trees_of(trace, "kill"), (Trees{"", "f=", "f=4096*a", "f=8192*a", "f=100*a"}));
}

TEST(CrashStateEnumerator, EventsUnderWayAtOnce) {
  TraceBuilder builder;
  builder.create("a");
  builder.create("b");
  builder.concurrent(2);
  const Trace trace = builder.finish();
  // The first to end is a: b may be done or not by then; after that a is forced, under kill.
  EXPECT_EQ(trees_of(trace, "kill"), (Trees{"", "a=", "b=", "a= b="}));

  TraceBuilder late;
  const FileId file = late.create("f");
  late.start();
  late.append(file, "abc");
  late.fsync(file);
  late.concurrent(2);  // the fsync began before the write had ended: it forces nothing
  late.acknowledge("ok");
  EXPECT_TRUE(states_of(late.finish(), model("posix")).contains({"f=", "ok"}));
}

TEST(CrashStateEnumerator, WhatNeverReturnedIsNeverForced) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.start();
  builder.append(file, "abc");
  builder.never_returns();
  builder.fsync(file);
  builder.acknowledge("ok");
  const Trace trace = builder.finish();
  EXPECT_TRUE(states_of(trace, model("kill")).contains({"f=", "ok"}));
  EXPECT_TRUE(states_of(trace, model("posix")).contains({"f=", "ok"}));
}

TEST(CrashStateEnumerator, TheEarliestCrashPointAndWhatIsLostThere) {
  TraceBuilder builder;
  const FileId file = builder.create("f");  // 0
  builder.append(file, "abc");              // 1
  builder.fsync(file);                      // 2
  builder.create("g");                      // 3
  const Trace trace = builder.finish();
  CrashStateEnumerator enumerator(trace, model("posix"), {});
  std::map<std::string, std::pair<std::size_t, std::vector<std::uint32_t>>> found;
  while (const CrashState* state = enumerator.next()) {
    found[text_of(*state->tree, state->tree->root, "")] = {state->crash_point, state->lost};
  }
  using Expected = std::pair<std::size_t, std::vector<std::uint32_t>>;
  EXPECT_EQ(found.at(""), (Expected{0, {0}}));
  EXPECT_EQ(found.at("f="), (Expected{0, {}}));
  EXPECT_EQ(found.at("f=abc"), (Expected{1, {}}));
  EXPECT_EQ(found.at("f=000"), (Expected{1, {1}}));
  EXPECT_EQ(found.at("g="), (Expected{3, {0}}));
  EXPECT_EQ(found.at("f=abc g="), (Expected{3, {}}));
  EXPECT_EQ(enumerator.describe(0).text, "entry \"f\" of openat (event 0)");
  EXPECT_EQ(enumerator.describe(1).text, "bytes 0 to 511 of \"f\" of write (event 1)");
  EXPECT_EQ(enumerator.describe(2).text, "size 3 of \"f\" of write (event 1)");
}

TEST(CrashStateEnumerator, RefusesToLoseWhatIsForced) {
  TraceBuilder builder;
  const FileId file = builder.create("f");
  builder.append(file, "abc");
  builder.fsync(file);
  builder.create("g");
  const Trace trace = builder.finish();
  CrashStateEnumerator enumerator(trace, model("posix"), {});
  EXPECT_EQ(enumerator.state_without(3, {1}), nullptr);
  EXPECT_EQ(enumerator.state_without(99, {}), nullptr);
  EXPECT_EQ(enumerator.state_without(0, {1}), nullptr);
  const CrashState* state = enumerator.state_without(3, {0});
  ASSERT_NE(state, nullptr);
  EXPECT_EQ(text_of(*state->tree, state->tree->root, ""), "g=");
}

/// A few calls on a few names, drawn.
Trace random_trace(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto draw = [&](std::uint64_t count) { return random() % count; };
  TraceBuilder builder;
  builder.mkdir("d");
  builder.append(builder.create("a"), "initial");
  builder.start();
  std::set<std::string> names{"a"};
  const std::vector<std::string> all_names{"a", "b", "d/a", "d/b"};
  for (int call = 0; call < 7; ++call) {
    const std::string& name = all_names[draw(all_names.size())];
    if (!names.contains(name)) {
      builder.create(name);
      names.insert(name);
      continue;
    }
    const FileId file = builder.file(name);
    const std::string& other = all_names[draw(all_names.size())];
    switch (draw(10)) {
      case 0:
        builder.unlink(name);
        names.erase(name);
        break;
      case 1:
        if (name == other || (names.contains(other) && builder.file(other) == file)) break;
        builder.rename(name, other);
        names.erase(name);
        names.insert(other);
        break;
      case 2:
        if (names.contains(other)) break;
        builder.link(name, other);
        names.insert(other);
        break;
      case 3:
        builder.truncate(file, draw(600));
        break;
      case 4:
        builder.write(file, draw(600), std::string(1 + draw(600), static_cast<char>('p' + call)));
        break;
      case 5:
        builder.append(file, "x", draw(3) == 0 ? WriteSync::kData : WriteSync::kNone);
        break;
      case 6:
        builder.fsync(draw(2) == 0 ? kRootFile : file, draw(4) == 0 ? -EIO : 0);
        break;
      case 7:
        builder.fdatasync(file);
        break;
      case 8:
        builder.acknowledge("!");
        break;
      default:
        builder.setxattr(file, "user.x", "value");
    }
  }
  if (draw(3) == 0) builder.concurrent(2);
  return builder.finish();
}

TEST(CrashStateEnumerator, EveryStateCanBeRebuilt) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const Trace trace = random_trace(seed);
    EXPECT_EQ(first_difference(tree_of(trace, trace.final), predicted_tree(trace)), "") << seed;
    for (const PersistenceModel& each : models()) {
      CrashStateEnumerator enumerator(trace, each, {});
      std::set<std::pair<std::uint64_t, std::size_t>> seen;
      while (const CrashState* state = enumerator.next()) {
        ASSERT_TRUE(seen.emplace(state->tree_hash, state->acknowledgement_end).second);
        ASSERT_EQ(state->tree_hash, hash_of(*state->tree)) << seed << " " << each.name;
        const CrashState* again = enumerator.state_without(state->crash_point, state->lost);
        ASSERT_NE(again, nullptr) << seed << " " << each.name;
        ASSERT_EQ(again->tree_hash, state->tree_hash) << seed << " " << each.name;
        ASSERT_EQ(again->lost, state->lost);
        ASSERT_EQ(again->acknowledgement_end, state->acknowledgement_end);
      }
      EXPECT_TRUE(enumerator.exhaustive());
    }
  }
}

TEST(CrashStateEnumerator, SamplesTellThatTheyAreSamples) {
  TraceBuilder builder;
  for (int file = 0; file < 40; ++file) builder.create("f" + std::to_string(file));
  const Trace trace = builder.finish();
  const auto hashes = [&](std::uint64_t seed) {
    CrashStateEnumerator enumerator(trace, model("posix"), {.seed = seed, .state_limit = 1000});
    std::vector<std::uint64_t> result;
    while (const CrashState* state = enumerator.next()) result.push_back(state->tree_hash);
    EXPECT_FALSE(enumerator.exhaustive());
    EXPECT_EQ(enumerator.states_given(), 1000U);
    return result;
  };
  const auto first = hashes(1);
  EXPECT_EQ(first, hashes(1));
  EXPECT_NE(first, hashes(2));
}

TEST(CrashStateEnumerator, ALimitThatIsNotReachedIsExhaustive) {
  TraceBuilder builder;
  for (int file = 0; file < 4; ++file) builder.create("f" + std::to_string(file));
  const Trace trace = builder.finish();
  EXPECT_EQ(states_of(trace, model("posix"), {.state_limit = 16}).size(), 16U);
  EXPECT_EQ(states_of(trace, model("ext4")).size(), 5U);
}

TEST(CrashStateEnumerator, BarriersKeepALongTraceSmall) {
  TraceBuilder builder;
  const FileId file = builder.create("log");
  builder.fsync(kRootFile);
  for (int record = 0; record < 2000; ++record) {
    builder.append(file, std::string(100, 'r'));
    builder.fdatasync(file);
  }
  const Trace trace = builder.finish();
  CrashStateEnumerator enumerator(trace, model("posix"), {});
  while (enumerator.next() != nullptr) {
  }
  EXPECT_TRUE(enumerator.exhaustive());
  EXPECT_LT(enumerator.states_given(), 7000U);
  EXPECT_GT(enumerator.states_given(), 2000U);
}

// Crash points that new code leads to come before those that the same code led to already.
TEST(CrashStateEnumerator, TriesEachKindOfUpdateOnceBeforeAnyTwice) {
  TraceBuilder builder;
  const FileId log = builder.create("log");
  const auto promise = [&] {
    builder.fsync(log);
    builder.acknowledge("x");
  };
  promise();
  for (int i = 0; i < 4; ++i) {
    builder.append(log, std::string(512, 'r'));
    promise();
  }
  builder.chmod(log, 0600);
  promise();
  const Trace trace = builder.finish();
  CrashStateEnumerator enumerator(trace, model("posix"), {});
  std::map<std::size_t, std::size_t> first;  // acknowledgements to number of the state
  std::size_t number = 0;
  while (const CrashState* state = enumerator.next())
    first.try_emplace(state->acknowledgement_end, number++);
  ASSERT_EQ(first.size(), 7U);
  EXPECT_LT(first[1], first[2]);  // the first append, then
  EXPECT_LT(first[5], first[2]);  // the chmod, before the other
  EXPECT_LT(first[5], first[3]);  // appends
}

// Descriptions ask for names in any order, and of files that had several.
TEST(CrashStateEnumerator, DescribesInAnyOrder) {
  TraceBuilder builder;
  builder.create("a");
  builder.rename("a", "b");
  builder.link("b", "c");
  builder.unlink("b");
  const FileId last = builder.create("b");
  builder.chmod(last, 0600);
  const Trace trace = builder.finish();
  faultinject::EventDescriber describer(trace);
  for (const std::size_t event : {5, 0, 3, 3, 1, 4, 2, 5, 0}) {
    EXPECT_EQ(describer.path(event), faultinject::event_path(trace, event)) << event;
    EXPECT_EQ(describer.describe(event), faultinject::describe_event(trace, event)) << event;
  }
  EXPECT_EQ(describer.path(0), "a");
  EXPECT_EQ(describer.path(1), "b");
  EXPECT_EQ(describer.path(2), "c");
  CrashStateEnumerator enumerator(trace, model("posix"), {});
  std::vector<std::string> ascending;
  const auto* all_lost = enumerator.next();
  ASSERT_NE(all_lost, nullptr);
  const auto lost = all_lost->lost;
  for (const auto operation : lost) ascending.push_back(enumerator.describe(operation).text);
  for (std::size_t i = lost.size(); i-- > 0;)
    EXPECT_EQ(enumerator.describe(lost[i]).text, ascending[i]);
}

// A trace of a million events works: what is done for each must not look at the others.
TEST(CrashStateEnumerator, AMillionEvents) {
  TraceBuilder builder;
  builder.create("log");
  builder.fsync(kRootFile);
  Trace trace = builder.finish();
  const auto text = trace.add_data("12345678");
  const FileId log = trace.events.front().file;
  std::uint64_t clock = trace.events.back().end;
  while (trace.events.size() < 1'000'000) {
    const bool is_barrier = trace.events.size() % 1000 == 0;
    faultinject::TraceEvent event;
    event.row = is_barrier ? faultinject::Row::k_fdatasync : faultinject::Row::k_pwrite64;
    event.file = log;
    event.offset = trace.events.size() % 512 * 8;
    if (!is_barrier) event.data = text;
    event.begin = ++clock;
    event.end = ++clock;
    trace.events.push_back(std::move(event));
  }
  CrashStateEnumerator enumerator(trace, model("posix"), {.state_limit = 2000});
  std::vector<std::uint32_t> lost;
  while (const CrashState* state = enumerator.next()) lost = state->lost;
  EXPECT_GT(enumerator.states_given(), 0U);
  faultinject::EventDescriber describer(trace);
  for (std::size_t event = 0; event < trace.events.size(); event += 100)
    ASSERT_EQ(describer.path(event), event == 0 || event % 1000 != 0 || event > 1 ? "log" : ".");
  for (const auto operation : lost) EXPECT_NE(enumerator.describe(operation).text, "");
}

// Each of the renames is possible; with only their new names persisted, a is in b, and b in a.
TEST(CrashStateEnumerator, ACircleOfDirectoriesEnds) {
  TraceBuilder builder;
  builder.mkdir("a");
  builder.mkdir("b");
  builder.start();
  builder.rename("a", "b/a");
  builder.rename("b/a", "a");
  builder.rename("b", "a/b");
  const Trace trace = builder.finish();
  for (const PersistenceModel& model : models()) {
    CrashStateEnumerator states(trace, model, {});
    std::set<std::uint64_t> seen;
    while (const auto* state = states.next()) {
      EXPECT_EQ(state->tree_hash, hash_of(*state->tree));
      EXPECT_TRUE(seen.insert(state->tree_hash).second);
    }
    EXPECT_TRUE(states.exhaustive());
  }
}

}  // namespace
}  // namespace crashgate::harness
