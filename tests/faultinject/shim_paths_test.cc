// Path patterns: which file a call is about, however the call names it.
#include <sys/syscall.h>

#include <tuple>

#include "faultinject/call_path.h"
#include "tests/faultinject/shim_fixture.h"

namespace crashgate::faultinject {
namespace {

class ShimPathsTest : public ShimFixture {
 protected:
  /// Whether a rule for all calls under that pattern acts on what `body` does.
  bool acts_on(const std::string& pattern, const std::function<void()>& body) {
    page_->rule_actions[0] = 0;
    arm_with("all@" + pattern + ":delay=1ns");
    body();
    disarm();
    return page_->rule_actions[0] > 0;
  }
};

TEST(GlobTest, Matches) {
  const std::tuple<const char*, const char*, bool> cases[] = {{"", "", true},
                                                              {"*", "", true},
                                                              {"*", "/a/b", true},
                                                              {"/a/*", "/a/b/c", true},
                                                              {"/a/*", "/a", false},
                                                              {"*.db", "/x/y.db", true},
                                                              {"*.db", "/x/y.dbx", false},
                                                              {"/?", "/a", true},
                                                              {"/?", "/", false},
                                                              {"*a*b*", "xxaxxbxx", true},
                                                              {"*a*b", "xbxa", false},
                                                              {"a", "ab", false},
                                                              {"**", "anything", true},
                                                              {"*aab", "aaaab", true}};
  for (const auto& [pattern, text, expected] : cases) {
    EXPECT_EQ(glob_matches(pattern, text), expected) << pattern << " against " << text;
  }
}

TEST_F(ShimPathsTest, AbsolutePathsAreNormalized) {
  auto open_it = [&] { close(open((directory_ + "//x/.././file").c_str(), O_RDONLY)); };
  EXPECT_TRUE(acts_on(path("file"), open_it));
  EXPECT_FALSE(acts_on(path("x/*"), open_it));
}

TEST_F(ShimPathsTest, RelativePathsStartAtTheWorkingDirectory) {
  int status = in_child([&] {
    if (chdir(directory_.c_str()) != 0) _exit(9);
    bool acted = acts_on(path("file"), [] { mkdir("file", 0700); });
    bool acted_elsewhere = acts_on("/file", [] { rmdir("file"); });
    _exit(acted && !acted_elsewhere ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
}

TEST_F(ShimPathsTest, PathsStartAtTheirDirectoryDescriptor) {
  ASSERT_EQ(mkdir(path("sub").c_str(), 0700), 0);
  int fd = open(path("sub").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  EXPECT_TRUE(acts_on(path("sub/file"), [&] { mkdirat(fd, "file", 0700); }));
  EXPECT_TRUE(acts_on(path("file"), [&] { mkdirat(fd, "../file", 0700); }));
  EXPECT_TRUE(acts_on(path("sub/new"), [&] { renameat(fd, "file", fd, "new"); }));
  EXPECT_TRUE(
      acts_on(path("sub/new"), [&] { renameat(fd, "new", AT_FDCWD, path("moved").c_str()); }));
  EXPECT_FALSE(acts_on(path("sub/other"), [&] { mkdirat(fd, "file", 0700); }));
  close(fd);
}

TEST_F(ShimPathsTest, DescriptorsHaveThePathTheirFileHasNow) {
  int fd = create("before");
  EXPECT_TRUE(acts_on("*/before", [&] { fsync(fd); }));
  ASSERT_EQ(rename(path("before").c_str(), path("after").c_str()), 0);
  EXPECT_TRUE(acts_on("*/after", [&] { fsync(fd); }));
  EXPECT_FALSE(acts_on("*/before", [&] { fsync(fd); }));
  ASSERT_EQ(unlink(path("after").c_str()), 0);
  EXPECT_TRUE(acts_on("*/after", [&] { fsync(fd); }));
  close(fd);
}

TEST_F(ShimPathsTest, BothDescriptorsOfACopyCount) {
  int from = create("from");
  int to = create("to");
  auto copy = [&] { std::ignore = copy_file_range(from, nullptr, to, nullptr, 1, 0); };
  EXPECT_TRUE(acts_on("*/from", copy));
  EXPECT_TRUE(acts_on("*/to", copy));
  close(from);
  close(to);
}

TEST_F(ShimPathsTest, EmptyAndMissingPathsMeanTheDescriptor) {
  int fd = create("file");
  struct stat status;
  EXPECT_TRUE(acts_on("*/file", [&] { fstatat(fd, "", &status, AT_EMPTY_PATH); }));
  EXPECT_TRUE(acts_on("*/file", [&] { futimens(fd, nullptr); }));
  close(fd);
}

TEST_F(ShimPathsTest, TheTargetOfASymlinkIsNoPath) {
  auto make = [&] { std::ignore = symlink("/some/target", path("link").c_str()); };
  EXPECT_FALSE(acts_on("/some/target", make));
  unlink(path("link").c_str());
  EXPECT_TRUE(acts_on("*/link", make));
}

TEST_F(ShimPathsTest, CallsWithoutAPathMatchNoPattern) {
  EXPECT_FALSE(acts_on("*", [] { sync(); }));
  EXPECT_FALSE(acts_on("*", [] { close(-1); }));
}

}  // namespace
}  // namespace crashgate::faultinject
