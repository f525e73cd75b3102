#include "harness/check/state_view.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <iostream>
#include <optional>
#include <string>

#include "harness/plan/scratch_directory.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr int kNotPermitted = 77;

// The exit status of a process of its own.
int in_a_process(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class StateViewTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = ScratchDirectory::create();
    ASSERT_TRUE(made) << to_string(made.error());
    scratch_.emplace(std::move(*made));
    directory_ = scratch_->path() + "/view";
    ASSERT_EQ(::mkdir(directory_.c_str(), 0755), 0);
    const UniqueFd file(::open((directory_ + "/outside").c_str(), O_CREAT | O_WRONLY, 0600));
    ASSERT_TRUE(file);
  }

  // 0 where the view is empty and private, can be written, and is seen by a child.
  int look() {
    const auto view = StateView::create(directory_, 1 << 20);
    if (!view) std::cout << to_string(view.error()) << std::endl;
    if (!view) return kNotPermitted;
    struct stat status;
    if (::stat(directory_.c_str(), &status) != 0 || (status.st_mode & 07777) != 0700 ||
        status.st_uid != ::geteuid()) {
      return 1;
    }
    if (::access((directory_ + "/outside").c_str(), F_OK) == 0) return 2;
    const UniqueFd file(::open((directory_ + "/inside").c_str(), O_CREAT | O_WRONLY, 0600));
    if (!file) return 3;
    if (in_a_process([&] { return ::access((directory_ + "/inside").c_str(), F_OK); }) != 0)
      return 4;
    const std::string much(2 << 20, 'x');
    const auto written = ::write(file.get(), much.data(), much.size());
    if (written >= static_cast<ssize_t>(much.size())) return 5;
    if (::write(file.get(), much.data(), much.size()) >= 0 || errno != ENOSPC) return 6;
    return 0;
  }

  void expect_unseen() {
    EXPECT_EQ(::access((directory_ + "/outside").c_str(), F_OK), 0);
    EXPECT_NE(::access((directory_ + "/inside").c_str(), F_OK), 0);
  }

  std::optional<ScratchDirectory> scratch_;
  std::string directory_;
};

TEST_F(StateViewTest, IsSeenByItsProcessAndChildrenOnly) {
  const int answer = in_a_process([&] { return look(); });
  if (answer == kNotPermitted) GTEST_SKIP() << "no private mounts here";
  EXPECT_EQ(answer, 0);
  expect_unseen();
}

TEST_F(StateViewTest, NeedsNoPrivilegesWhereUserNamespacesAreAllowed) {
  if (::geteuid() != 0) GTEST_SKIP() << "the other test runs without privileges already";
  ASSERT_EQ(::chmod(scratch_->path().c_str(), 0755), 0);
  const int answer = in_a_process([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 10;
    // A program that was started as this user has a /proc/self of its own.
    if (::prctl(PR_SET_DUMPABLE, 1) != 0) return 11;
    return look();
  });
  if (answer == kNotPermitted) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(answer, 0);
  expect_unseen();
}

TEST_F(StateViewTest, TwoProcessesHaveTwoViewsOfOnePath) {
  const int answer = in_a_process([&] {
    if (const int first = look(); first != 0) return first;
    return in_a_process([&] { return look() == 0 ? 0 : 1; });
  });
  if (answer == kNotPermitted) GTEST_SKIP() << "no private mounts here";
  EXPECT_EQ(answer, 0);
  expect_unseen();
}

TEST_F(StateViewTest, SaysWhyNot) {
  EXPECT_EQ(in_a_process([&] {
              const auto view = StateView::create(directory_ + "/absent");
              const auto relative = StateView::create("relative");
              return !view && !view.error().operation.empty() && !relative ? 0 : 1;
            }),
            0);
}

}  // namespace
}  // namespace crashgate::harness
