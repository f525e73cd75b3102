// What the tests of the linked-in shim share: a page, a private directory, arming by text, and
// children.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "faultinject/shim.h"

namespace crashgate::faultinject {

class ShimFixture : public testing::Test {
 protected:
  void SetUp() override {
    auto page = MappedPage::anonymous();
    ASSERT_TRUE(page.has_value());
    page_ = page->release();
    char name[] = "/tmp/shim_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    disarm();
    MappedPage::adopt(page_);
    std::filesystem::remove_all(directory_);
  }

  void arm_with(const std::string& rules) {
    auto parsed = parse_rules(rules);
    ASSERT_TRUE(parsed.has_value()) << rules << ": " << parsed.error().message;
    arm(*parsed, page_, 0, false);
  }

  std::uint64_t calls(Row row) const { return page_->row_calls[static_cast<std::size_t>(row)]; }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  int create(const std::string& name) const {
    return ::open(path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  std::string content(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  /// Runs `body` in a forked child; the wait status.
  static int in_child(const std::function<void()>& body) {
    pid_t pid = fork();
    if (pid == 0) {
      body();
      _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
  }
  static bool killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

  SharedPage* page_ = nullptr;
  std::string directory_;
};

}  // namespace crashgate::faultinject
