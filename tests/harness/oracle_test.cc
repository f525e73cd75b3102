// The oracle, on histories made by hand: each mistake gets its name, and what is right is left in
// peace.
#include "harness/judge/oracle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/harness/made_history.h"

namespace crashgate::harness {

void PrintTo(FindingKind kind, std::ostream* out) {
  *out << to_string(kind);
}

namespace {

using faultinject::Action;
using faultinject::Injected;
using Kind = OperationKind;

const Operation kPut{.kind = Kind::kPut, .key = "k", .size = 100};
const Operation kClaim{.kind = Kind::kPutIfAbsent, .key = "k", .size = 100};
const Operation kGet{.kind = Kind::kGet, .key = "k"};
const Operation kRange{.kind = Kind::kGetRange, .key = "k", .offset = 50, .length = 10};
const Operation kRemove{.kind = Kind::kRemove, .key = "k"};
const Operation kExists{.kind = Kind::kExists, .key = "k"};
const Operation kList{.kind = Kind::kList};
const Operation kRecover{.kind = Kind::kRecover};

Plan plan_of(std::vector<std::vector<Operation>> workers, std::vector<Operation> setup = {}) {
  return {.setup = std::move(setup), .workers = std::move(workers)};
}

// A twist of one operation only.
using OneTwist = std::function<void(Event&, Contents&, History&)>;
Twist at(std::uint32_t process, std::uint32_t number, OneTwist twist) {
  return [=](std::uint32_t p, std::uint32_t n, Event& event, Contents& contents, History& history) {
    if (p == process && n == number) twist(event, contents, history);
  };
}

void expect_clean(const History& history) {
  for (const auto& violation : judge(history)) {
    ADD_FAILURE() << to_string(violation.kind) << ": " << violation.message;
  }
}

void expect_first(const History& history, FindingKind kind, std::string_view subject,
                  std::string_view words) {
  const auto violations = judge(history);
  ASSERT_FALSE(violations.empty()) << words;
  EXPECT_EQ(violations[0].kind, kind) << violations[0].message;
  EXPECT_EQ(violations[0].subject, subject) << violations[0].message;
  EXPECT_NE(violations[0].message.find(words), std::string::npos) << violations[0].message;
  EXPECT_EQ(violations[0].message.find('\n'), std::string::npos);
  EXPECT_TRUE(violations[0].cause.starts_with(to_string(kind)));
}

TEST(Oracle, LeavesAPerfectStoreInPeace) {
  expect_clean(make_history(plan_of({{}})));
  for (const auto& setup : {std::vector<Operation>{}, std::vector<Operation>{kPut},
                            std::vector<Operation>{kPut, kRemove}}) {
    expect_clean(make_history(plan_of(
        {{kPut, kGet, kRange, kList, kExists, kClaim}, {kRemove, kClaim, kRecover, kGet}}, setup)));
  }
}

TEST(Oracle, LostAcknowledgement) {
  for (const auto& operation : {kPut, kClaim}) {
    const auto lose = [](Event&, Contents& contents, History&) { contents.clear(); };
    expect_first(make_history(plan_of({{operation}}), at(0, 1, lose)),
                 FindingKind::kLostAcknowledgement, to_string(operation.kind),
                 "nothing is there afterwards");
  }
}

TEST(Oracle, Stale) {
  const auto keep_old = [](Event&, Contents& contents, History&) { contents["k"] = 0; };
  expect_first(make_history(plan_of({{kPut}}, {kPut}), at(0, 1, keep_old)), FindingKind::kStale,
               "put", "an older object is there afterwards");
  const auto read_old = [](Event& event, Contents&, History&) { event.matches = 1; };
  expect_first(make_history(plan_of({{kPut, kGet}}, {kPut}), at(0, 2, read_old)),
               FindingKind::kStale, "get", "the setup's put");
  const auto see_nothing = [](Event& event, Contents&, History&) {
    fail(event, ErrorCode::kNotFound);
  };
  expect_first(make_history(plan_of({{kPut, kGet}}), at(0, 2, see_nothing)), FindingKind::kStale,
               "get", "found nothing");
  const auto deny = [](Event& event, Contents&, History&) { event.exists = false; };
  expect_first(make_history(plan_of({{kPut, kExists}}), at(0, 2, deny)), FindingKind::kStale,
               "exists", "found nothing");
}

TEST(Oracle, ListsWhatIsThere) {
  const auto omit = [](Event& event, Contents&, History&) { event.listed = 0; };
  expect_first(make_history(plan_of({{kPut, kList}}), at(0, 2, omit)), FindingKind::kStale, "list",
               "found nothing");
  const auto invent = [](Event& event, Contents&, History&) { event.listed = 1; };
  expect_first(make_history(plan_of({{kList, kPut}}), at(0, 1, invent)), FindingKind::kStale,
               "list", "found an object");
  const auto garble = [](Event& event, Contents&, History&) { event.well_formed = false; };
  expect_first(make_history(plan_of({{kList}}), at(0, 1, garble)), FindingKind::kErrorContract,
               "list", "what it should not");
  // A prefix that the key has not says nothing of it.
  const Operation elsewhere{.kind = Kind::kList, .key = "x"};
  expect_clean(make_history(plan_of({{kPut, elsewhere}})));
}

TEST(Oracle, Resurrected) {
  const auto bring_back = [](Event&, Contents& contents, History&) { contents["k"] = 0; };
  expect_first(make_history(plan_of({{kRemove}}, {kPut}), at(0, 1, bring_back)),
               FindingKind::kResurrected, "remove", "the object is there afterwards");
}

TEST(Oracle, DuplicateWinner) {
  const auto win_too = [](Event& event, Contents& contents, History& history) {
    event.outcome = Outcome::kOk;
    contents["k"] = payload_of(history, 1, 1);
  };
  expect_first(make_history(plan_of({{kClaim}, {kClaim}}), at(1, 1, win_too)),
               FindingKind::kDuplicateWinner, "put_if_absent", "held another's object already");
  expect_clean(make_history(plan_of({{kClaim, kRemove}, {kClaim}})));
}

TEST(Oracle, LoserToldEarly) {
  const auto lose_to_nobody = [](Event& event, Contents& contents, History&) {
    fail(event, ErrorCode::kAlreadyExists, EEXIST);
    contents.clear();
  };
  expect_first(make_history(plan_of({{kClaim}}), at(0, 1, lose_to_nobody)),
               FindingKind::kLostAcknowledgement, "put_if_absent", "was told AlreadyExists");
  // The same with a winner that was killed on its way.
  const auto killed_winner = [](std::uint32_t process, std::uint32_t number, Event& event,
                                Contents& contents, History& history) {
    if (number != 1) return;
    if (process == 0) {
      event.outcome = Outcome::kPending;
      add_call(history, 0, "write", Injected::kKillBefore);
    } else if (process == 1) {
      fail(event, ErrorCode::kAlreadyExists, EEXIST);
    } else {
      return;
    }
    contents.clear();
  };
  expect_first(make_history(plan_of({{kClaim}, {kClaim}}), killed_winner),
               FindingKind::kLostAcknowledgement, "put_if_absent", "was told AlreadyExists");
}

TEST(Oracle, OrderWhereNoSingleAnswerIsToBlame) {
  const auto twist = [](std::uint32_t process, std::uint32_t number, Event& event, Contents&,
                        History&) {
    if (process == 0 && (number == 2 || number == 3)) fail(event, ErrorCode::kNotFound, ENOENT);
  };
  expect_first(make_history(plan_of({{kPut, kGet, kGet}}), twist), FindingKind::kOrder, "exists",
               "no order of the operations");
}

TEST(Oracle, TornAndMixed) {
  struct Case {
    Reading reading;
    FindingKind kind;
  };
  const Case cases[] = {
      {Reading::kCut, FindingKind::kTorn},       {Reading::kEmpty, FindingKind::kTorn},
      {Reading::kZeros, FindingKind::kTorn},     {Reading::kMixed, FindingKind::kMixed},
      {Reading::kOtherKey, FindingKind::kMixed}, {Reading::kForeign, FindingKind::kMixed}};
  for (const auto& one : cases) {
    for (const auto& operation : {kGet, kRange}) {
      const auto damage = [&](Event& event, Contents&, History&) {
        event.matches = 0;
        event.reading = one.reading;
        event.resembles = 0;
        event.answer_size = one.reading == Reading::kEmpty ? 0 : 7;
      };
      const auto history = make_history(plan_of({{kPut, operation}}), at(0, 2, damage));
      expect_first(history, one.kind, to_string(operation.kind),
                   one.reading == Reading::kEmpty ? "empty" : to_string(one.reading));
      EXPECT_EQ(judge(history).size(), 1U);
    }
  }
}

TEST(Oracle, UnexpectedError) {
  const auto disk_error = [](Event& event, Contents& contents, History&) {
    fail(event, ErrorCode::kIo, EIO);
    contents.clear();
  };
  for (const auto& operation : {kPut, kClaim, kGet, kRange, kExists, kList, kRecover, kRemove}) {
    expect_first(make_history(plan_of({{operation}}), at(0, 1, disk_error)),
                 FindingKind::kErrorContract, to_string(operation.kind),
                 "although nothing made it fail");
  }
  expect_first(make_history(plan_of({{}}), at(0, 0, disk_error)), FindingKind::kErrorContract,
               "open", "although nothing made it fail");
  const auto conflict = [](Event& event, Contents& contents, History&) {
    fail(event, ErrorCode::kConflict, EISDIR);
    contents.erase("k");
  };
  expect_first(make_history(plan_of({{kPut}}), at(0, 1, conflict)), FindingKind::kErrorContract,
               "put", "Conflict");
  const Operation below{.kind = Kind::kGet, .key = "k/below"};
  expect_clean(make_history(plan_of({{kPut, below}}), at(0, 1, conflict)));
}

TEST(Oracle, ErrorsThatTheMachineMade) {
  const auto out_of = [](int errno_value) {
    return at(0, 1, [=](Event& event, Contents& contents, History&) {
      fail(event, ErrorCode::kIo, errno_value);
      contents.clear();
    });
  };
  auto plan = plan_of({{kPut}});
  plan.descriptor_limit = 3;
  expect_clean(make_history(plan, out_of(EMFILE)));
  expect_first(make_history(plan, out_of(ENOSPC)), FindingKind::kErrorContract, "put", "although");
  plan.descriptor_limit = 0;
  expect_first(make_history(plan, out_of(EMFILE)), FindingKind::kErrorContract, "put", "although");
  plan.disk_size = 128;
  expect_clean(make_history(plan, out_of(ENOSPC)));
}

Plan with_foreign(ForeignKind kind, const std::string& path, const Operation& operation) {
  auto plan = plan_of({{operation}});
  plan.foreign = {{kind, path}};
  return plan;
}

// The perfect answer where no object can be.
Twist refused(ErrorCode code) {
  return at(0, 1, [=](Event& event, Contents& contents, History&) {
    fail(event, code);
    contents.clear();
  });
}

TEST(Oracle, WhatIsNoObjectIsNeverTakenForOne) {
  for (const auto kind : {ForeignKind::kFifo, ForeignKind::kSymlinkToFile}) {
    for (const auto& operation : {kPut, kClaim, kRemove, kGet, kRange}) {
      for (const auto code : {ErrorCode::kNotAnObject, ErrorCode::kNotFound, ErrorCode::kIo})
        expect_clean(make_history(with_foreign(kind, "k", operation), refused(code)));
      for (const auto code : {ErrorCode::kAlreadyExists, ErrorCode::kIndeterminate})
        expect_first(make_history(with_foreign(kind, "k", operation), refused(code)),
                     FindingKind::kErrorContract, to_string(operation.kind), to_string(code));
      const auto succeed = [](Event& event, Contents&, History&) { event.outcome = Outcome::kOk; };
      expect_first(make_history(with_foreign(kind, "k", operation), at(0, 1, succeed)),
                   FindingKind::kErrorContract, to_string(operation.kind),
                   "although no object can be at its key");
    }
  }
  const auto say_yes = [](Event& event, Contents&, History&) { event.exists = true; };
  expect_clean(make_history(with_foreign(ForeignKind::kSocket, "k", kExists)));
  expect_first(make_history(with_foreign(ForeignKind::kSocket, "k", kExists), at(0, 1, say_yes)),
               FindingKind::kErrorContract, "exists", "although no object can be");
}

TEST(Oracle, AKeyWithADirectoryAtItOrAFifoOnTheWayIsAbsent) {
  const Operation below{.kind = Kind::kRemove, .key = "f/k"};
  expect_clean(make_history(with_foreign(ForeignKind::kDirectory, "k", kRemove)));
  expect_clean(make_history(with_foreign(ForeignKind::kFifo, "f", below)));
  expect_first(make_history(with_foreign(ForeignKind::kSymlinkToRoot, "f", below)),
               FindingKind::kErrorContract, "remove", "although no object can be");
  expect_clean(make_history(with_foreign(ForeignKind::kDirectory, "k", kGet),
                            refused(ErrorCode::kNotFound)));
  expect_first(make_history(with_foreign(ForeignKind::kDirectory, "k", kPut)),
               FindingKind::kErrorContract, "put", "although no object can be");
}

TEST(Oracle, AListHasNothingForeignInIt) {
  auto plan = plan_of({{kList, kGet}});
  plan.foreign = {{ForeignKind::kSymlinkToObject, "k"}};
  const auto twist = [](bool listed) {
    return [=](std::uint32_t process, std::uint32_t number, Event& event, Contents&, History&) {
      if (process == 0 && number == 1) event.listed = listed ? 1 : 0;
      if (process == 0 && number == 2) fail(event, ErrorCode::kNotAnObject);
    };
  };
  expect_clean(make_history(plan, twist(false)));
  expect_first(make_history(plan, twist(true)), FindingKind::kErrorContract, "list",
               "lists \"k\", where no object can be");
}

TEST(Oracle, WhatIsForeignStaysAsItIs) {
  auto plan = with_foreign(ForeignKind::kSymlinkToDirectory, "d", kPut);
  plan.workers[0].push_back(kGet);
  auto history = make_history(plan);
  expect_clean(history);
  history.foreign_damage = "\"file\" outside the root was changed";
  expect_first(history, FindingKind::kErrorContract, "run", "outside the root was changed");
  history.processes[0].events[1].damaged = history.processes[0].events[2].damaged = true;
  expect_first(history, FindingKind::kErrorContract, "put",
               "put \"k\" (100 bytes) of process 0 touched what is not the store's: \"file\"");
  EXPECT_NE(judge(history)[0].cause.find("foreign:symlink-to-directory"), std::string::npos);
}

// An injected EIO: `changed` says whether the store was changed all the same.
Twist failing(ErrorCode code, bool changed) {
  return at(0, 1, [=](Event& event, Contents& contents, History& history) {
    fail(event, code, EIO);
    add_call(history, 0, "write", Injected::kError, EIO, 7);
    if (!changed) contents.clear();
  });
}

TEST(Oracle, AnErrorThatWasCausedIsNoMistakeUnlessItChangedTheStore) {
  for (const auto& operation : {kPut, kClaim}) {
    expect_clean(make_history(plan_of({{operation}}), failing(ErrorCode::kIo, false)));
    expect_first(make_history(plan_of({{operation}}), failing(ErrorCode::kIo, true)),
                 FindingKind::kErrorContract, to_string(operation.kind),
                 "yet it changed the store");
  }
}

TEST(Oracle, IndeterminateMayOrMayNotHaveHappened) {
  for (const auto& operation : {kPut, kClaim}) {
    for (const bool changed : {false, true}) {
      expect_clean(
          make_history(plan_of({{operation}}), failing(ErrorCode::kIndeterminate, changed)));
    }
  }
  // Undisturbed it is an error like any other.
  const auto unsure = [](Event& event, Contents&, History&) {
    fail(event, ErrorCode::kIndeterminate, EIO);
  };
  expect_first(make_history(plan_of({{kPut}}), at(0, 1, unsure)), FindingKind::kErrorContract,
               "put", "Indeterminate");
}

TEST(Oracle, PendingMayOrMayNotHaveHappenedButWhole) {
  for (const bool happened : {false, true}) {
    for (const auto& operation : {kPut, kClaim, kRemove}) {
      const auto die = at(0, 1, [=](Event& event, Contents& contents, History& history) {
        event.outcome = Outcome::kPending;
        add_call(history, 0, "write", Injected::kKillMid);
        if (!happened) contents = {{"k", 0}};
      });
      const bool claims = operation.kind == Kind::kPutIfAbsent;
      if (claims && happened) {
        expect_clean(make_history(plan_of({{operation}, {kGet}}), die));
      } else {
        expect_clean(make_history(plan_of({{operation}, {kGet}}, {kPut}), die));
      }
    }
  }
  const auto tear = [](std::uint32_t process, std::uint32_t number, Event& event, Contents&,
                       History& history) {
    if (process == 0 && number == 1) {
      event.outcome = Outcome::kPending;
      add_call(history, 0, "write", Injected::kKillMid);
    }
    if (process == 1 && event.matches != 0 && number == 2) {
      event.matches = 0;
      event.reading = Reading::kCut;
      event.answer_size = 7;
    }
  };
  expect_first(make_history(plan_of({{kPut}}), tear), FindingKind::kTorn, "get", "cut short");
}

TEST(Oracle, PendingDoesNotHappenAfterItsProcessHasEnded) {
  // Another process finds nothing after the death, the survivor finds the object.
  const auto late = [](std::uint32_t process, std::uint32_t number, Event& event,
                       Contents& contents, History& history) {
    if (process == 0 && number == 1) {
      event.outcome = Outcome::kPending;
      add_call(history, 0, "write", Injected::kKillAfter);
      contents.clear();
    }
    if (process == 1 && number == 1) contents["k"] = payload_of(history, 0, 1);
  };
  EXPECT_FALSE(judge(make_history(plan_of({{kPut}, {kGet}}), late)).empty());
}

TEST(Oracle, ASurvivorKilledInRecoveryIsFollowed) {
  auto plan = plan_of({{kPut}});
  plan.faults = {{1, 1, rule_at(1, 1, Action::kKillAfter)}};
  const auto die = at(1, 1, [](Event& event, Contents&, History& history) {
    event.outcome = Outcome::kPending;
    add_call(history, 1, "unlinkat", Injected::kKillAfter);
  });
  expect_clean(make_history(plan, die));
  const auto lose = [](std::uint32_t process, std::uint32_t number, Event& event,
                       Contents& contents, History& history) {
    if (process != 1 || number != 1) return;
    event.outcome = Outcome::kPending;
    add_call(history, 1, "unlinkat", Injected::kKillAfter);
    contents.clear();
  };
  expect_first(make_history(plan, lose), FindingKind::kLostAcknowledgement, "put", "afterwards");
}

// Success although the fsync `of` failed with `errno_value`.
Twist succeeds_after_failed_barrier(int errno_value, std::uint64_t inode, bool directory) {
  return at(0, 1, [=](Event& event, Contents&, History& history) {
    event.inode = 42;
    add_call(history, 0, "fsync", Injected::kError, errno_value, inode, directory);
  });
}

TEST(Oracle, SuccessAfterAFailedBarrier) {
  for (const auto& operation : {kPut, kClaim, kRemove}) {
    expect_first(make_history(plan_of({{operation}}), succeeds_after_failed_barrier(EIO, 1, true)),
                 FindingKind::kErrorContract, to_string(operation.kind), "a directory");
  }
  for (const auto& operation : {kPut, kClaim}) {
    expect_first(
        make_history(plan_of({{operation}}), succeeds_after_failed_barrier(EIO, 42, false)),
        FindingKind::kErrorContract, to_string(operation.kind), "the payload");
    // A file that was thrown away, and another one published.
    expect_clean(
        make_history(plan_of({{operation}}), succeeds_after_failed_barrier(EIO, 43, false)));
    // What cannot be synced need not be.
    for (const int harmless : {EINVAL, EOPNOTSUPP, ENOSYS}) {
      expect_clean(
          make_history(plan_of({{operation}}), succeeds_after_failed_barrier(harmless, 42, false)));
    }
  }
  // A loser that is told so although it could not sync the winner's name.
  expect_first(
      make_history(plan_of({{kClaim}}, {kPut}), succeeds_after_failed_barrier(EIO, 1, true)),
      FindingKind::kErrorContract, "put_if_absent", "a directory");
  // Readers have no durability to promise.
  expect_clean(
      make_history(plan_of({{kGet}}, {kPut}), succeeds_after_failed_barrier(EIO, 1, true)));
}

TEST(Oracle, AnInterruptedBarrierHasToBeMadeUpFor) {
  const auto interrupted_then = [](const char* row, std::uint64_t inode) {
    return at(0, 1, [=](Event& event, Contents&, History& history) {
      event.inode = 42;
      add_call(history, 0, "fsync", Injected::kError, EINTR, 42, false);
      add_call(history, 0, row, Injected::kNothing, 0, inode, false);
    });
  };
  const auto plan = plan_of({{kPut}});
  expect_clean(make_history(plan, interrupted_then("fsync", 42)));
  expect_clean(make_history(plan, interrupted_then("fdatasync", 42)));
  expect_clean(make_history(plan, interrupted_then("syncfs", 1)));
  for (const auto& [row, inode] : {std::pair{"fsync", 1}, {"close", 42}}) {
    expect_first(make_history(plan, interrupted_then(row, static_cast<std::uint64_t>(inode))),
                 FindingKind::kErrorContract, "put", "EINTR");
  }
}

// An answer of "no" with `errno_value` injected into the call that asked.
Twist denies(int errno_value) {
  return at(0, 1, [=](Event& event, Contents& contents, History& history) {
    const auto kind = history.plan.workers[0][0].kind;
    add_call(history, 0, "openat", Injected::kError, errno_value);
    if (kind == Kind::kExists)
      event.exists = false;
    else if (kind == Kind::kList)
      event.listed = 0;
    else if (kind == Kind::kPutIfAbsent)
      fail(event, ErrorCode::kAlreadyExists, EEXIST);
    else if (kind == Kind::kRemove)
      contents["k"] = 0;
    else
      fail(event, ErrorCode::kNotFound, ENOENT);
    if (kind == Kind::kPutIfAbsent) contents.clear();
  });
}

TEST(Oracle, ALieIsNotHeldAgainstTheStore) {
  for (const auto& operation : {kGet, kRange, kExists, kList, kRemove}) {
    expect_clean(make_history(plan_of({{operation}}, {kPut}), denies(ENOENT)));
    EXPECT_FALSE(judge(make_history(plan_of({{operation}}, {kPut}), denies(EIO))).empty())
        << to_string(operation.kind);
  }
  expect_clean(make_history(plan_of({{kClaim}}), denies(EEXIST)));
  EXPECT_FALSE(judge(make_history(plan_of({{kClaim}}), denies(EIO))).empty());
}

TEST(Oracle, ALieExcusesNoTornObject) {
  const auto twist = at(0, 1, [](Event& event, Contents&, History& history) {
    add_call(history, 0, "openat", Injected::kError, ENOENT);
    event.matches = 0;
    event.reading = Reading::kCut;
    event.answer_size = 7;
  });
  expect_first(make_history(plan_of({{kGet}}, {kPut}), twist), FindingKind::kTorn, "get",
               "cut short");
}

TEST(Oracle, Ranges) {
  Operation beyond = kRange;
  beyond.offset = 101;
  expect_clean(make_history(plan_of({{kPut, beyond}})));
  const auto refuse = [](Event& event, Contents&, History&) {
    fail(event, ErrorCode::kOutOfRange);
  };
  EXPECT_FALSE(judge(make_history(plan_of({{kPut, kRange}}), at(0, 2, refuse))).empty());
  Operation overflow = kRange;
  overflow.offset = 2;
  overflow.length = UINT64_MAX;
  expect_clean(make_history(plan_of({{kPut, overflow}}), at(0, 2, refuse)));
  expect_first(make_history(plan_of({{kPut, overflow}})), FindingKind::kErrorContract, "get_range",
               "beyond what any file can hold");
}

TEST(Oracle, LeakedDescriptorAndLeftovers) {
  auto history = make_history(plan_of({{kPut}}));
  history.processes[0].leaked_descriptor = true;
  expect_first(history, FindingKind::kErrorContract, "descriptors", "process 0");

  history = make_history(plan_of({{kPut}}));
  history.leftovers = {"tmp.1", "tmp.2"};
  expect_first(history, FindingKind::kErrorContract, "recover", "tmp.1");
}

TEST(Oracle, HangsAndEndsByItself) {
  auto history = make_history(plan_of({{kPut}}));
  history.timed_out = true;
  expect_first(history, FindingKind::kHang, "run", "in time");
  history.processes[0].events[1].outcome = Outcome::kPending;
  expect_first(history, FindingKind::kHang, "run",
               "put \"k\" (100 bytes) of process 0 did not return");
  history.deadlocked = true;
  expect_first(history, FindingKind::kHang, "run", "lock");

  history = make_history(plan_of({{kPut}}));
  history.processes[0].wait_status = SIGSEGV;
  expect_first(history, FindingKind::kErrorContract, "end", "SEGV");
  history.processes[0].wait_status = 3 << 8;
  expect_first(history, FindingKind::kErrorContract, "end", "exit status 3");
  history.processes[0].wait_status = SIGKILL;  // by nobody's plan
  expect_first(history, FindingKind::kErrorContract, "end", "KILL");

  history = make_history(plan_of({{kPut}}));
  history.processes[0].setup_failed = true;
  expect_first(history, FindingKind::kErrorContract, "setup", "undisturbed");
}

// The payload's state says more than the error that goes with it.
TEST(Oracle, PutsTheMostTellingFirst) {
  const auto twist = [](std::uint32_t process, std::uint32_t number, Event& event,
                        Contents& contents, History&) {
    if (process == 0 && number == 1) contents.clear();
    if (process == 0 && number == 2) fail(event, ErrorCode::kIo, EIO);
  };
  const auto violations = judge(make_history(plan_of({{kPut, kRecover}}), twist));
  ASSERT_EQ(violations.size(), 2U);
  EXPECT_EQ(violations[0].kind, FindingKind::kLostAcknowledgement);
  EXPECT_EQ(violations[1].kind, FindingKind::kErrorContract);
}

TEST(Oracle, EqualCausesHaveEqualNames) {
  const auto lose = [](Event&, Contents& contents, History&) { contents.clear(); };
  const auto one = judge(make_history(plan_of({{kPut}}), at(0, 1, lose)));
  Operation other = kPut;
  other.key = "another";
  other.size = 5;
  const auto two = judge(make_history(plan_of({{other}}), at(0, 1, lose)));
  ASSERT_FALSE(one.empty());
  ASSERT_FALSE(two.empty());
  EXPECT_EQ(one[0].cause, two[0].cause);
  EXPECT_NE(one[0].message, two[0].message);
}

TEST(FindingKinds, HaveTheNamesOfTheDesign) {
  for (const auto* name : {"torn", "mixed", "stale", "resurrected", "lost-acknowledgement", "order",
                           "duplicate-winner", "error-contract", "hang"}) {
    const auto kind = find_finding_kind(name);
    ASSERT_TRUE(kind.has_value()) << name;
    EXPECT_EQ(to_string(*kind), name);
  }
  EXPECT_FALSE(find_finding_kind("fine").has_value());
}

}  // namespace
}  // namespace crashgate::harness
