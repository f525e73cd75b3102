#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <fstream>

#include "tests/store/child_process.h"
#include "tests/store/store_fixture.h"
#include "tests/store/syscall_filter.h"

namespace crashgate::testing {
namespace {

using StoreRecoverTest = StoreTest;

// A process that holds a temporary as a living writer does, until it is killed.
class Holder {
 public:
  explicit Holder(const std::string& path) {
    int ready[2];
    EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    child_ = start_child([&] {
      const int file = ::open(path.c_str(), O_RDWR | O_CREAT, 0666);
      if (::flock(file, LOCK_EX) != 0 || ::write(ready[1], "r", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    });
    ::close(ready[1]);
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
  }
  ~Holder() { kill(); }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_ = -1;
};

TEST_F(StoreRecoverTest, LeavesTheLivingAndRemovesTheDead) {
  EXPECT_OK(store_.put("k", "x"));
  Holder living(temporaries() + "/00000000000000000000000000000001");
  std::ofstream(temporaries() + "/00000000000000000000000000000002") << "left";
  EXPECT_EQ(store_.list("").value(), (std::vector<std::string>{"k"}));

  auto recovery = store_.recover();
  ASSERT_TRUE(recovery) << to_string(recovery.error());
  EXPECT_EQ(recovery->removed, 1U);
  EXPECT_EQ(recovery->in_use, 1U);
  EXPECT_EQ(count_files(temporaries()), 1U);
  EXPECT_EQ(store_.recover().value().removed, 0U) << "recover is idempotent";

  living.kill();
  EXPECT_EQ(store_.recover().value().removed, 1U);
  EXPECT_EQ(count_files(temporaries()), 0U);
  EXPECT_EQ(store_.get("k").value(), "x");
}

TEST_F(StoreRecoverTest, LeavesForeignThingsAlone) {
  std::filesystem::create_directories(temporaries() + "/directory");
  std::filesystem::create_symlink("/etc/passwd", temporaries() + "/link");
  ASSERT_EQ(::mkfifo((temporaries() + "/fifo").c_str(), 0666), 0);
  const auto recovery = store_.recover();
  ASSERT_TRUE(recovery) << to_string(recovery.error());
  EXPECT_EQ(recovery->removed + recovery->in_use, 0U);
  EXPECT_EQ(count_files(temporaries()), 3U);
}

// A writer that ends between link and rename, without its clean-up.
TEST_F(StoreRecoverTest, RemovesWhatAKilledOverwriteLeft) {
  EXPECT_OK(store_.put("k", "old"));
  const auto victim = start_child([&] {
    ASSERT_TRUE(deny(SYS_renameat, EIO));
    ASSERT_TRUE(deny(SYS_unlinkat, EIO));
    EXPECT_FALSE(store_.put("k", "new"));
  });
  EXPECT_EQ(end_of(victim), 0);
  EXPECT_EQ(count_files(temporaries()), 1U);
  EXPECT_EQ(store_.recover().value().removed, 1U);
  EXPECT_EQ(count_files(temporaries()), 0U);
  EXPECT_EQ(store_.get("k").value(), "old");
}

// A crash may leave a published object under its temporary name as well (btrfs, and the link
// fallback).
TEST_F(StoreRecoverTest, SecondNameOfAnObjectIsRemovedAndTheObjectStays) {
  EXPECT_OK(store_.put("k", "x"));
  std::filesystem::create_hard_link(root() + "/k",
                                    temporaries() + "/00000000000000000000000000000003");
  EXPECT_EQ(store_.recover().value().removed, 1U);
  EXPECT_EQ(store_.get("k").value(), "x");
}

// Without O_TMPFILE a temporary has its name before its lock, and recover may be faster.
TEST_F(StoreRecoverTest, NamedTemporariesSurviveAGreedyRecover) {
  const auto recoverer = start_child([&] {
    for (;;) (void)store_.recover();
  });
  in_child([&] {
    constexpr auto kBit = static_cast<std::uint32_t>(O_TMPFILE & ~O_DIRECTORY);
    ASSERT_TRUE(deny(SYS_openat, EOPNOTSUPP, ArgumentIs{2, kBit, kBit}));
    for (int i = 0; i < 300; ++i) {
      const auto payload = std::to_string(i);
      EXPECT_OK(store_.put("k", payload));
      EXPECT_EQ(store_.get("k").value(), payload);
      EXPECT_OK(store_.put_if_absent("n" + payload, payload));
    }
  });
  ::kill(recoverer, SIGKILL);
  ::waitpid(recoverer, nullptr, 0);
  EXPECT_EQ(store_.list("n").value().size(), 300U);
}

TEST_F(StoreRecoverTest, GoesOnAfterAnErrorAndReportsIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to have a file of another user";
  for (const char digit : {'4', '5'}) std::ofstream(temporaries() + "/" + digit) << "left";
  ASSERT_EQ(::chmod((temporaries() + "/4").c_str(), 0), 0);
  ASSERT_EQ(::chmod(temporaries().c_str(), 0777), 0);
  ASSERT_EQ(::chmod((temporaries() + "/5").c_str(), 0666), 0);
  in_child([&] {
    ASSERT_EQ(::setuid(65534), 0);
    const auto recovery = store_.recover();
    EXPECT_EQ(code_of(recovery), ErrorCode::kPermissionDenied);
    EXPECT_EQ(recovery.error().path, "4");
  });
  EXPECT_EQ(count_files(temporaries()), 1U);
}

}  // namespace
}  // namespace crashgate::testing
