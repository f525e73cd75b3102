// Plays, for each known-bad store, the failing run that the comment atop its file tells, call by
// call: the contract must break there, and its twin must keep it in the same run.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <set>
#include <string>

#include "harness/store_under_test.h"
#include "tests/known_bugs/call_hook.h"
#include "tests/known_bugs/scratch_directory.h"

namespace crashgate::known_bugs {
namespace {

using harness::StoreUnderTest;

const std::string kLong(10'000, 'l');
const std::string kShort(100, 's');

// Two writers, as of two processes, over one root. `missed` is set by a scenario that did not reach
// its point.
struct Stage {
  std::unique_ptr<StoreUnderTest> a;
  std::unique_ptr<StoreUnderTest> b;
  bool missed = false;

  bool holds(const std::string& key, const std::string& payload) const {
    const auto got = b->get(key);
    return got && *got == payload;
  }
  void expect(bool reached) { missed = missed || !reached; }
};

std::optional<Outcome> fail_with(int errno_value) {
  return Outcome{-1, errno_value};
}

template <typename Operation>
void killed_at_write(Stage& stage, Operation operation) {
  const pid_t child = fork();
  if (child == 0) {
    const CallHook hook("write", 1, [](int) -> std::optional<Outcome> {
      raise(SIGKILL);
      return std::nullopt;
    });
    operation();
    _exit(0);
  }
  int status = 0;
  stage.expect(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
}

bool two_winners(Stage& stage) {
  bool b_won = false;
  const CallHook hook("write", 1, [&](int) {
    b_won = stage.b->put_if_absent("k", kShort).has_value();
    return std::nullopt;
  });
  const bool a_won = stage.a->put_if_absent("k", kLong).has_value();
  stage.expect(hook.ran());
  return a_won && b_won;
}

bool torn_winner(Stage& stage) {
  killed_at_write(stage, [&] { (void)stage.a->put_if_absent("k", kLong); });
  return *stage.b->exists("k") && !stage.holds("k", kLong);
}

bool torn_replacement(Stage& stage) {
  stage.expect(stage.a->put("k", kShort).has_value());
  killed_at_write(stage, [&] { (void)stage.a->put("k", kLong); });
  return !stage.holds("k", kShort) && !stage.holds("k", kLong);
}

bool mixture_of_one_key(Stage& stage) {
  bool b_stored = false;
  const CallHook hook("write", 1, [&](int) {
    b_stored = stage.b->put("k", kLong).has_value();
    return std::nullopt;
  });
  const bool a_stored = stage.a->put("k", kShort).has_value();
  stage.expect(hook.ran() && (a_stored || b_stored));
  return !stage.holds("k", a_stored ? kShort : kLong);
}

// The second writer is a child that shares process id and counter with the first.
bool mixture_of_two_keys(Stage& stage) {
  int start[2];
  stage.expect(pipe(start) == 0);
  pretend_process_id(7);
  const pid_t child = fork();
  if (child == 0) {
    char byte = 0;
    const bool told = read(start[0], &byte, 1) == 1;
    _exit(told && stage.b->put("b", kLong) ? 0 : 1);
  }
  int status = -1;
  const CallHook hook("write", 1, [&](int) {
    stage.expect(write(start[1], "", 1) == 1 && waitpid(child, &status, 0) == child);
    return std::nullopt;
  });
  (void)stage.a->put("a", kShort);
  pretend_process_id(0);
  close(start[0]);
  close(start[1]);
  stage.expect(hook.ran() && status == 0);
  return !stage.holds("b", kLong);
}

bool put_fails_by_recovery(Stage& stage) {
  const CallHook hook("renameat", 1, [&](int) {
    stage.expect(stage.b->recover().has_value());
    return std::nullopt;
  });
  const bool stored = stage.a->put("k", kShort).has_value();
  stage.expect(hook.ran());
  return !stored;
}

bool prefix_after_short_write(Stage& stage) {
  const CallHook hook("write", 1, [](int fd) -> std::optional<Outcome> {
    return Outcome{write(fd, kLong.data(), 4096), 0};
  });
  const bool stored = stage.a->put("k", kLong).has_value();
  stage.expect(hook.ran());
  return stored && !stage.holds("k", kLong);
}

bool prefix_after_no_space(Stage& stage) {
  const CallHook hook("write", 1, [](int) { return fail_with(ENOSPC); });
  const bool stored = stage.a->put("k", kLong).has_value();
  stage.expect(hook.ran());
  return stored && !stage.holds("k", kLong);
}

bool success_after_failed_fsync(Stage& stage) {
  const CallHook hook("fsync", 1, [](int) { return fail_with(EIO); });
  const bool stored = stage.a->put("k", kLong).has_value();
  stage.expect(hook.ran());
  return stored;
}

bool beaten_by_nobody(Stage& stage) {
  bool lost = false;
  bool there = false;
  const CallHook hook("write", 1, [&](int) {
    const auto b_stored = stage.b->put_if_absent("k", kShort);
    lost = !b_stored && b_stored.error().code == ErrorCode::kAlreadyExists;
    there = *stage.b->exists("k");
    return std::nullopt;
  });
  (void)stage.a->put_if_absent("k", kLong);
  stage.expect(hook.ran());
  return lost && !there;
}

// The first fsync is the payload's, the second the directory's.
bool another_writers_object_gone(Stage& stage) {
  const CallHook hook("fsync", 2, [&](int) {
    stage.expect(stage.b->put("k", kShort).has_value());
    return fail_with(EIO);
  });
  stage.expect(!stage.a->put_if_absent("k", kLong));
  stage.expect(hook.ran());
  return !stage.holds("k", kShort);
}

bool list_fails(Stage& stage) {
  stage.expect(stage.a->put("k", kShort).has_value());
  const CallHook hook("fstatat", 1, [&](int) {
    stage.expect(stage.b->remove("k").has_value());
    return std::nullopt;
  });
  const auto listed = stage.a->list("");
  stage.expect(hook.ran());
  return !listed;
}

bool exists_answers_no(Stage& stage) {
  stage.expect(stage.a->put("k", kShort).has_value());
  const CallHook hook("fstatat", 1, [](int) { return fail_with(EACCES); });
  const auto exists = stage.a->exists("k");
  stage.expect(hook.ran());
  return exists && !*exists;
}

struct Flaw {
  std::string store;
  bool (*breaks)(Stage& stage);
};

const Flaw kFlaws[] = {
    {"cleanup-unlinks-by-name", another_writers_object_gone},
    {"exclusive-create-then-write", torn_winner},
    {"exists-swallows-errors", exists_answers_no},
    {"exists-then-put", two_winners},
    {"fixed-temporary-name", mixture_of_one_key},
    {"ignores-failed-fsync", success_after_failed_fsync},
    {"ignores-no-space", prefix_after_no_space},
    {"ignores-short-write", prefix_after_short_write},
    {"list-fails-on-vanished", list_fails},
    {"loser-told-early", beaten_by_nobody},
    {"process-id-temporary-name", mixture_of_two_keys},
    {"recover-removes-living", put_fails_by_recovery},
    {"retries-failed-fsync", success_after_failed_fsync},
    {"write-in-place", torn_replacement},
};

bool breaks(const Flaw& flaw, const std::string& store) {
  const ScratchDirectory directory;
  const auto* entry = harness::find_store(store);
  Stage stage{*entry->open(directory.path()), *entry->open(directory.path())};
  const bool broken = flaw.breaks(stage);
  EXPECT_FALSE(stage.missed) << store << ": the scenario did not reach its point";
  return broken;
}

TEST(Flaws, BreakTheBadStoreAndNotItsTwin) {
  for (const Flaw& flaw : kFlaws) {
    EXPECT_TRUE(breaks(flaw, flaw.store)) << flaw.store;
    EXPECT_FALSE(breaks(flaw, flaw.store + "-fixed")) << flaw.store << "-fixed";
  }
}

// What only a power loss shows: `crashgate verify` finds these (tests/harness/known_bad_test.cc).
const std::string_view kShownByPowerLoss[] = {
    "ancestors-not-synced",   "directory-not-synced", "directory-synced-early",
    "payload-not-synced",     "removal-not-synced",   "sync-file-range-as-barrier",
    "wrong-descriptor-synced"};

// What only foreign objects in the root show: likewise.
const std::string_view kShownByForeignObjects[] = {"get-follows-symlinks", "get-waits-for-fifo",
                                                   "list-follows-symlinks", "put-through-symlink"};

TEST(Flaws, AreKnownForEveryBadStore) {
  std::set<std::string_view> played(std::begin(kShownByPowerLoss), std::end(kShownByPowerLoss));
  played.insert(std::begin(kShownByForeignObjects), std::end(kShownByForeignObjects));
  for (const Flaw& flaw : kFlaws) played.insert(flaw.store);
  for (const auto& entry : harness::stores()) {
    EXPECT_TRUE(entry.good || played.contains(entry.name)) << entry.name;
  }
}

}  // namespace
}  // namespace crashgate::known_bugs
