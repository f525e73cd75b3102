// Running a part of a test in a forked child: with other privileges, under a filter, or to be
// killed.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

namespace crashgate::testing {

constexpr int kChildSkips = 77;

/// Forks; the child runs `body`, which may use EXPECT, and exits with 0, or 1 where something
/// failed.
template <typename Body>
pid_t start_child(Body body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  body();
  std::fflush(nullptr);
  ::_exit(::testing::Test::HasFailure() ? 1 : 0);
}

/// The child's exit status, or -1 where it did not exit.
inline int end_of(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

/// Runs `body` in a child to its end, and fails where the child failed.
template <typename Body>
void in_child(Body body) {
  EXPECT_EQ(end_of(start_child(body)), 0) << "in the child process; see above";
}

}  // namespace crashgate::testing
