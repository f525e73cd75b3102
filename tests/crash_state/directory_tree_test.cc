#include "harness/crash_state/directory_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <string>

#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

DirectoryTree small_tree() {
  DirectoryTree tree;
  tree.files[1].mode = S_IFDIR | 0755;
  tree.files[1].entries = {{"d", 2}, {"f", 3}, {"l", 4}};
  tree.files[2].mode = S_IFDIR | 0700;
  tree.files[2].entries = {{"g", 3}};
  tree.files[3] = {.mode = S_IFREG | 0644, .size = 10, .content = {{2, "abc"}, {5, "def"}}};
  tree.files[4] = {.mode = S_IFLNK | 0777, .target = "d"};
  return tree;
}

void expect_alike(const DirectoryTree& first, const DirectoryTree& second) {
  EXPECT_EQ(hash_of(first), hash_of(second));
  EXPECT_EQ(first_difference(first, second), "");
}

TEST(DirectoryTree, WhatNoProgramCanTellApart) {
  DirectoryTree other = small_tree();
  other.files[3].content = {{1, std::string_view("\0abcde", 6)}, {7, std::string_view("f\0", 2)}};
  expect_alike(small_tree(), other);

  other = small_tree();
  other.files[9] = other.files[3];
  other.files.erase(3);
  other.files[1].entries["f"] = other.files[2].entries["g"] = 9;
  other.files[50].mode = S_IFREG;  // cannot be reached
  expect_alike(small_tree(), other);
}

struct Change {
  std::string difference;
  std::function<void(DirectoryTree&)> make;
};

TEST(DirectoryTree, EveryDifferenceIsSeen) {
  const std::vector<Change> changes{
      {".: mode 0755, not 0750", [](auto& tree) { tree.files[1].mode = S_IFDIR | 0750; }},
      {"d: mode 0700, not 0755", [](auto& tree) { tree.files[2].mode = S_IFDIR | 0755; }},
      {"d/g: 10 bytes, not 9", [](auto& tree) { tree.files[3].size = 9; }},
      {"d/g: differs at byte 3", [](auto& tree) { tree.files[3].content[0].bytes = "aXc"; }},
      {"d/g: differs at byte 8",
       [](auto& tree) {
         tree.files[3].content.push_back({8, "x"});
       }},
      {"d/g: differs at byte 2",
       [](auto& tree) { tree.files[3].content.erase(tree.files[3].content.begin()); }},
      {"d/g: owner 0:0, not 5:0", [](auto& tree) { tree.files[3].uid = 5; }},
      {"d/g: owner 0:0, not 0:5", [](auto& tree) { tree.files[3].gid = 5; }},
      {"d/g: attribute user.x differs",
       [](auto& tree) { tree.files[3].attributes["user.x"] = ""; }},
      {"l: symlink to d, not f", [](auto& tree) { tree.files[4].target = "f"; }},
      {"l: a symlink, not a file", [](auto& tree) { tree.files[4].mode = S_IFREG | 0777; }},
      {"f: missing", [](auto& tree) { tree.files[1].entries.erase("f"); }},
      {"e: not expected", [](auto& tree) { tree.files[1].entries["e"] = 4; }},
      {"f: a hard link of d/g is expected, and is none",
       [](auto& tree) {
         tree.files[5] = tree.files[3];
         tree.files[1].entries["f"] = 5;
       }},
  };
  for (const Change& change : changes) {
    DirectoryTree tree = small_tree();
    change.make(tree);
    EXPECT_EQ(first_difference(small_tree(), tree), change.difference);
    EXPECT_NE(hash_of(small_tree()), hash_of(tree)) << change.difference;
  }
}

TEST(DirectoryTree, WhichNamesAreLinksOfOneFile) {
  DirectoryTree first;
  first.files[1].mode = S_IFDIR | 0755;
  first.files[1].entries = {{"a", 2}, {"b", 2}, {"c", 3}, {"d", 3}};
  first.files[2].mode = first.files[3].mode = S_IFREG | 0644;
  DirectoryTree second = first;
  second.files[1].entries = {{"a", 2}, {"b", 3}, {"c", 2}, {"d", 3}};
  EXPECT_NE(hash_of(first), hash_of(second));
  EXPECT_EQ(first_difference(first, second), "b: a hard link of a is expected, and is none");
}

TEST(DirectoryTree, OfASnapshot) {
  TraceBuilder builder;
  builder.mkdir("d", 0700);
  builder.append(builder.create("d/f"), "text");
  builder.link("d/f", "g");
  builder.symlink("g", "s");
  builder.setxattr(builder.file("g"), "user.x", "value");
  const Trace trace = builder.finish();
  const DirectoryTree tree = tree_of(trace, trace.final);
  EXPECT_EQ(tree.files.size(), 4U);
  const TreeFile& file = tree.files.at(tree.files.at(kRootFile).entries.at("g"));
  EXPECT_EQ(file.content, (std::vector<ContentPiece>{{0, "text"}}));
  EXPECT_EQ(file.attributes.at("user.x"), "value");
  EXPECT_EQ(tree.files.at(tree.files.at(kRootFile).entries.at("s")).target, "g");
}

}  // namespace
}  // namespace crashgate::harness
