// Directories that are shared with a preloaded shim: removed by their owners, or after them.
#include "faultinject/preload_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

namespace crashgate::faultinject {
namespace {

namespace fs = std::filesystem;

class PreloadDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/preload_directory_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    base_ = name;
  }
  void TearDown() override { fs::remove_all(base_); }

  /// By somebody who dies at once; where it was.
  std::string abandon() const {
    const pid_t pid = fork();
    if (pid == 0) {
      const auto made = PreloadDirectory::create(base_);
      std::ofstream(made->shared_file()) << "shared";
      const auto library = made->preloadable("/a library/x.so");
      std::ofstream(base_ + "/where") << fs::path(made->shared_file()).parent_path().string();
      _exit(library ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
    std::string where;
    std::getline(std::ifstream(base_ + "/where"), where);
    return where;
  }

  std::string base_;
};

TEST_F(PreloadDirectoryTest, WhatTheDeadLeaveIsRemovedByTheNext) {
  const auto dead = abandon();
  ASSERT_TRUE(fs::exists(dead + "/shared"));
  const auto made = PreloadDirectory::create(base_);
  ASSERT_TRUE(made);
  EXPECT_FALSE(fs::exists(dead));
}

TEST_F(PreloadDirectoryTest, WhatIsInUseOrNotOursStays) {
  const auto living = PreloadDirectory::create(base_);
  ASSERT_TRUE(living);
  std::ofstream(living->shared_file()) << "shared";
  fs::create_directory(base_ + "/elsewhere");
  for (const std::string name : {"crashgate-shim.toolong", "other-shim.abcdef"}) {
    fs::create_directory(base_ + "/" + name);
    std::ofstream(base_ + "/" + name + "/shared") << "shared";
  }
  std::ofstream(base_ + "/elsewhere/shared") << "shared";
  fs::create_directory_symlink("elsewhere", base_ + "/crashgate-shim.link00");
  ASSERT_TRUE(PreloadDirectory::create(base_));
  EXPECT_TRUE(fs::exists(living->shared_file()));
  for (const std::string name : {"crashgate-shim.toolong", "other-shim.abcdef", "elsewhere"})
    EXPECT_TRUE(fs::exists(base_ + "/" + name + "/shared")) << name;
}

}  // namespace
}  // namespace crashgate::faultinject
