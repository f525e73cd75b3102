// Which fsync stands between an act and its answer, and what is answered where it fails. The store
// opens the lowest free descriptors in a known order, so a filter can fail the fsync of one of
// them.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/store/child_process.h"
#include "tests/store/store_fixture.h"
#include "tests/store/syscall_filter.h"

namespace crashgate::testing {
namespace {

using StoreDurabilityTest = StoreTest;

// Fails fsync of the descriptor that is `nth` after the lowest free one.
void fail_fsync_of(unsigned nth) {
  const int lowest = ::dup(0);
  ASSERT_GE(lowest, 0);
  ::close(lowest);
  ASSERT_TRUE(deny(SYS_fsync, EIO, ArgumentIs{0, static_cast<std::uint32_t>(lowest) + nth}));
}

template <typename T>
void expect_failure(const Result<T>& result, ErrorCode code, const std::string& operation) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, code) << to_string(result.error());
  EXPECT_EQ(result.error().errno_value, EIO);
  EXPECT_EQ(result.error().operation, operation);
}

constexpr unsigned kDirectory = 0;  // of a key without a slash: opened first
constexpr unsigned kPayload = 1;    // then the temporary

TEST_F(StoreDurabilityTest, PayloadThatIsNotDurableIsNotPublished) {
  EXPECT_OK(store_.put("k", "old"));
  in_child([&] {
    fail_fsync_of(kPayload);
    expect_failure(store_.put("k", "new"), ErrorCode::kIo, "put: fsync");
    expect_failure(store_.put_if_absent("n", "new"), ErrorCode::kIo, "put_if_absent: fsync");
  });
  EXPECT_EQ(store_.get("k").value(), "old");
  EXPECT_FALSE(store_.exists("n").value());
  EXPECT_EQ(count_files(temporaries()), 0U);
}

TEST_F(StoreDurabilityTest, FailureAfterPublicationIsIndeterminate) {
  EXPECT_OK(store_.put("k", "old"));
  EXPECT_OK(store_.put("r", "old"));
  in_child([&] {
    fail_fsync_of(kDirectory);
    expect_failure(store_.put("k", "new"), ErrorCode::kIndeterminate, "put: fsync");
    expect_failure(store_.put_if_absent("n", "new"), ErrorCode::kIndeterminate,
                   "put_if_absent: fsync");
    expect_failure(store_.remove("r"), ErrorCode::kIndeterminate, "remove: fsync");
  });
  EXPECT_EQ(store_.get("k").value(), "new");
  EXPECT_EQ(store_.get("n").value(), "new") << "clean-up must not remove what is published";
  EXPECT_FALSE(store_.exists("r").value());
  EXPECT_EQ(count_files(temporaries()), 0U);
}

TEST_F(StoreDurabilityTest, LoserIsNotToldBeforeTheNameIsDurable) {
  EXPECT_OK(store_.put("k", "first"));
  in_child([&] {
    fail_fsync_of(kDirectory);
    expect_failure(store_.put_if_absent("k", "second"), ErrorCode::kIo, "put_if_absent: fsync");
  });
}

TEST_F(StoreDurabilityTest, RemovalOfTheAbsentIsSyncedToo) {
  EXPECT_OK(store_.put("o", "x"));
  EXPECT_OK(store_.put("d/k", "x"));
  in_child([&] {
    fail_fsync_of(kDirectory);
    for (const std::string key : {"none", "no/such/directory", "o/below", "d"}) {
      expect_failure(store_.remove(key), ErrorCode::kIo, "remove: fsync");
    }
  });
}

// The names of ancestors are synced on every call: they may be another writer's, who has not done
// so yet.
TEST_F(StoreDurabilityTest, AncestorsAreSyncedBeforePublication) {
  EXPECT_OK(store_.put("a/b/k", "old"));
  // The walk has the directory open and its parent: the first two descriptors, by turns.
  for (const unsigned nth : {0U, 1U}) {
    in_child([&] {
      fail_fsync_of(nth);
      expect_failure(store_.put("a/b/k", "new"), ErrorCode::kIo, "put: fsync");
      expect_failure(store_.put_if_absent("a/b/n", "new"), ErrorCode::kIo, "put_if_absent: fsync");
      expect_failure(store_.put_if_absent("a/b/k", "new"), ErrorCode::kIo, "put_if_absent: fsync");
    });
  }
  EXPECT_EQ(store_.get("a/b/k").value(), "old");
  EXPECT_EQ(store_.list("").value(), (std::vector<std::string>{"a/b/k"}));
}

TEST_F(StoreDurabilityTest, OpenSyncsTheNameOfTheRoot) {
  in_child([&] {
    ASSERT_TRUE(deny(SYS_fsync, EIO));
    expect_failure(LocalFileStore::open(root()), ErrorCode::kIo, "open: fsync");
    expect_failure(LocalFileStore::open(directory_ / "fresh"), ErrorCode::kIo, "open: fsync");
  });
}

TEST_F(StoreDurabilityTest, FailedPublicationLeavesTheOldState) {
  EXPECT_OK(store_.put("k", "old"));
  in_child([&] {
    ASSERT_TRUE(deny(SYS_renameat, EIO));
    ASSERT_TRUE(deny(SYS_linkat, EIO));
    expect_failure(store_.put("k", "new"), ErrorCode::kIo, "put: linkat");
    expect_failure(store_.put_if_absent("n", "new"), ErrorCode::kIo, "put_if_absent: linkat");
  });
  in_child([&] {
    ASSERT_TRUE(deny(SYS_renameat, EIO));
    expect_failure(store_.put("k", "new"), ErrorCode::kIo, "put: renameat");
  });
  EXPECT_EQ(store_.list("").value(), (std::vector<std::string>{"k"}));
  EXPECT_EQ(store_.get("k").value(), "old");
  EXPECT_EQ(count_files(temporaries()), 0U);
}

// An errno that elsewhere speaks of the key's state must not be taken for an answer about it.
TEST_F(StoreDurabilityTest, NoFailureIsMistakenForAnAnswer) {
  for (const int errno_value : {ENOENT, EEXIST, ENOTDIR, ELOOP, EISDIR}) {
    in_child([&] {
      ASSERT_TRUE(deny(SYS_write, errno_value));
      EXPECT_EQ(code_of(store_.put("k", "x")), ErrorCode::kIo);
      EXPECT_EQ(code_of(store_.put_if_absent("k", "x")), ErrorCode::kIo);
    });
  }
  in_child([&] {
    ASSERT_TRUE(deny(SYS_linkat, EEXIST));
    EXPECT_EQ(code_of(store_.put_if_absent("k", "x")), ErrorCode::kIo);
  });
  EXPECT_EQ(count_files(temporaries()), 0U);
}

}  // namespace
}  // namespace crashgate::testing
