// Trees are read and removed whole, and never beyond a symlink.
#include "harness/plan/tree_walk.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

class TreeWalkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ScratchDirectory::create();
    ASSERT_TRUE(made) << to_string(made.error());
    scratch_.emplace(std::move(*made));
    std::filesystem::create_directory(outside());
    std::ofstream(outside() + "/kept") << "outside";
    std::filesystem::create_directories(root() + "/a/b");
    std::ofstream(root() + "/a/b/deep") << "content";
    std::ofstream(root() + "/empty");
    std::filesystem::create_directory_symlink(outside(), root() + "/link");
    ASSERT_EQ(::mkfifo((root() + "/fifo").c_str(), 0600), 0);
  }
  std::string root() const { return scratch_->path() + "/root"; }
  std::string outside() const { return scratch_->path() + "/outside"; }

  std::optional<ScratchDirectory> scratch_;
};

TEST_F(TreeWalkTest, VisitsEveryEntryOnceAndFollowsNoSymlink) {
  std::map<std::string, unsigned char> types;
  std::map<std::string, std::string> contents;
  walk_tree(root(), [&](const TreeEntry& entry) {
    EXPECT_TRUE(types.emplace(entry.path, entry.type).second) << entry.path;
    if (entry.type == DT_REG) contents[entry.path] = content_of(entry);
  });
  const std::map<std::string, unsigned char> expected{{"a", DT_DIR},        {"a/b", DT_DIR},
                                                      {"a/b/deep", DT_REG}, {"empty", DT_REG},
                                                      {"fifo", DT_FIFO},    {"link", DT_LNK}};
  EXPECT_EQ(types, expected);
  EXPECT_EQ(contents, (std::map<std::string, std::string>{{"a/b/deep", "content"}, {"empty", ""}}));
}

TEST_F(TreeWalkTest, ReadsWhatIsLargerThanABuffer) {
  for (int i = 0; i < 1000; ++i) std::ofstream(root() + "/a/" + std::to_string(i));
  std::size_t visited = 0;
  walk_tree(root() + "/a", [&](const TreeEntry&) { ++visited; });
  EXPECT_EQ(visited, 1002u);  // b and b/deep, too
  EXPECT_TRUE(remove_tree(root()));
  EXPECT_FALSE(std::filesystem::exists(root()));
}

TEST_F(TreeWalkTest, OfNothingVisitsNothing) {
  walk_tree(root() + "/absent", [](const TreeEntry& entry) { ADD_FAILURE() << entry.path; });
  walk_tree(root() + "/link", [](const TreeEntry& entry) { ADD_FAILURE() << entry.path; });
}

TEST_F(TreeWalkTest, RemovalTakesAllAndFollowsNoSymlink) {
  EXPECT_TRUE(remove_tree(root()));
  EXPECT_EQ(::access(root().c_str(), F_OK), -1);
  EXPECT_TRUE(std::filesystem::exists(outside() + "/kept"));
  EXPECT_TRUE(remove_tree(root())) << "gone already";
}

TEST_F(TreeWalkTest, RemovalOfOtherThanADirectory) {
  EXPECT_TRUE(remove_tree(root() + "/link"));
  EXPECT_TRUE(remove_tree(root() + "/empty"));
  EXPECT_TRUE(remove_tree(root() + "/fifo"));
  EXPECT_TRUE(std::filesystem::exists(outside() + "/kept"));
  EXPECT_FALSE(std::filesystem::exists(root() + "/empty"));
}

}  // namespace
}  // namespace crashgate::harness
