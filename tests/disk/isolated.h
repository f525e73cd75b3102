// Runs part of a test in a process and mount namespace of its own, where mounts harm nobody.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "harness/disk/file_system.h"

namespace crashgate::harness {

/// `body` tells by assertions; what fails in it fails the test.
inline void isolated(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto entered = enter_mount_namespace();
    EXPECT_TRUE(entered) << to_string(entered.error());
    if (entered) body();
    std::fflush(nullptr);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "see above";
}

}  // namespace crashgate::harness
