// What tests that run plans share: a directory for the roots, runners, and the certainty that
// nothing stays behind.
#pragma once

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "harness/plan/runner.h"
#include "harness/plan/scratch_directory.h"
#include "harness/store_under_test.h"

namespace crashgate::harness {

class RunFixture : public testing::Test {
 protected:
  void SetUp() override {
    // Processes that lose their parent become ours, so that none can hide.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    register_production_store();
    auto scratch = ScratchDirectory::create();
    ASSERT_TRUE(scratch.has_value());
    scratch_ = std::make_unique<ScratchDirectory>(std::move(*scratch));
  }
  void TearDown() override {
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
    EXPECT_EQ(errno, ECHILD);
    EXPECT_TRUE(std::filesystem::is_empty(scratch_->path())) << "a root is left";
  }

  Runner runner_for(const StoreEntry& store) {
    auto runner = Runner::create(store, scratch_->path());
    EXPECT_TRUE(runner.has_value());
    return std::move(*runner);
  }
  Runner runner_for(std::string_view name) {
    const auto* store = find_store(name);
    EXPECT_NE(store, nullptr) << name;
    return runner_for(*store);
  }

  std::unique_ptr<ScratchDirectory> scratch_;
};

}  // namespace crashgate::harness
