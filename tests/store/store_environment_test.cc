// Full disks, other file systems, missing permissions, exhausted descriptors.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/store/child_process.h"
#include "tests/store/store_fixture.h"

namespace crashgate::testing {
namespace {

using StoreEnvironmentTest = StoreTest;

bool mount_private_tmpfs(const std::string& where, const char* options) {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", where.c_str(), "tmpfs", 0, options) == 0;
}

bool may_mount(const std::string& where) {
  return end_of(start_child([&] {
           if (!mount_private_tmpfs(where, "size=64k")) ::_exit(kChildSkips);
         })) == 0;
}

TEST_F(StoreEnvironmentTest, FullDisk) {
  const auto disk = directory_ / "disk";
  std::filesystem::create_directories(disk);
  if (!may_mount(disk)) GTEST_SKIP() << "needs the right to mount a tmpfs";
  in_child([&] {
    ASSERT_TRUE(mount_private_tmpfs(disk, "size=256k"));
    const auto store = open_store(disk + "/root");
    EXPECT_OK(store.put("k", "old"));
    const std::string large(1 << 20, 'x');
    for (int i = 0; i < 3; ++i) {
      const auto answer = store.put("k", large);
      EXPECT_EQ(code_of(answer), ErrorCode::kNoSpace);
      EXPECT_EQ(answer.error().errno_value, ENOSPC);
      EXPECT_EQ(code_of(store.put_if_absent("n", large)), ErrorCode::kNoSpace);
    }
    EXPECT_EQ(store.get("k").value(), "old");
    EXPECT_FALSE(store.exists("n").value());
    EXPECT_EQ(count_files(disk + "/root/.crashgate/tmp"), 0U);
    EXPECT_OK(store.put("k", std::string(100'000, 'y')));
  });
}

TEST_F(StoreEnvironmentTest, OtherFileSystemBelowTheRoot) {
  EXPECT_OK(store_.put("sub/covered", "x"));
  if (!may_mount(root() + "/sub")) GTEST_SKIP() << "needs the right to mount a tmpfs";
  in_child([&] {
    ASSERT_TRUE(mount_private_tmpfs(root() + "/sub", "size=64k"));
    const auto store = open_store(root());  // in the namespace that has the mount
    const auto answer = store.put("sub/k", "x");
    EXPECT_EQ(code_of(answer), ErrorCode::kIo);
    EXPECT_EQ(answer.error().errno_value, EXDEV);
    EXPECT_EQ(code_of(store.put_if_absent("sub/k", "x")), ErrorCode::kIo);
    EXPECT_EQ(store.list("").value(), std::vector<std::string>{});
    EXPECT_EQ(count_files(temporaries()), 0U);
  });
  EXPECT_EQ(store_.get("sub/covered").value(), "x");
}

TEST_F(StoreEnvironmentTest, WhatCannotBeSeenIsAnErrorAndNotAbsent) {
  EXPECT_OK(store_.put("d/k", "x"));
  EXPECT_OK(store_.put("file", "x"));
  ASSERT_EQ(::chmod((root() + "/d").c_str(), 0), 0);
  ASSERT_EQ(::chmod((root() + "/file").c_str(), 0), 0);
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  in_child([&] {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0) {
      ASSERT_EQ(::setgid(kNobody), 0);
      ASSERT_EQ(::setuid(kNobody), 0);
    }
    const auto answer = store_.exists("d/k");
    EXPECT_EQ(code_of(answer), ErrorCode::kPermissionDenied);
    EXPECT_EQ(answer.error().errno_value, EACCES);
    EXPECT_EQ(code_of(store_.get("d/k")), ErrorCode::kPermissionDenied);
    EXPECT_EQ(code_of(store_.get("file")), ErrorCode::kPermissionDenied);
    EXPECT_EQ(code_of(store_.put("d/k", "y")), ErrorCode::kPermissionDenied);
    EXPECT_EQ(code_of(store_.remove("d/k")), ErrorCode::kPermissionDenied);
    EXPECT_EQ(code_of(store_.list("")), ErrorCode::kPermissionDenied);
    EXPECT_TRUE(store_.exists("file").value());
  });
  ASSERT_EQ(::chmod((root() + "/d").c_str(), 0700), 0);
  EXPECT_EQ(store_.get("d/k").value(), "x");
}

// Whatever the number of descriptors left, a call succeeds whole or says that there are too few.
TEST_F(StoreEnvironmentTest, DescriptorLimit) {
  EXPECT_OK(store_.put("a/b/k", "old"));
  in_child([&] {
    const int lowest = ::dup(0);
    ::close(lowest);
    int refused = 0;
    for (rlim_t spare = 0; spare < 6; ++spare) {
      const rlimit limit{static_cast<rlim_t>(lowest) + spare, 4096};
      ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
      const auto expect_refused_or_done = [&](const auto& result) {
        if (result) return;
        ++refused;
        EXPECT_EQ(result.error().code, ErrorCode::kTooManyOpenFiles) << to_string(result.error());
      };
      expect_refused_or_done(store_.put("a/b/k", "new"));
      expect_refused_or_done(store_.put_if_absent("a/n" + std::to_string(spare), "new"));
      expect_refused_or_done(store_.get("a/b/k"));
      expect_refused_or_done(store_.exists("a/b/k"));
      expect_refused_or_done(store_.list(""));
      expect_refused_or_done(store_.recover());
      expect_refused_or_done(store_.remove("a/none"));
    }
    EXPECT_GT(refused, 7);
    const rlimit limit{1024, 4096};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_EQ(store_.get("a/b/k").value(), "new");
    EXPECT_EQ(count_files(temporaries()), 0U);
  });
}

}  // namespace
}  // namespace crashgate::testing
