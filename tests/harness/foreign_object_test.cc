// What is placed in a root that is none of the store's, and whether it is noticed when it is
// touched.
#include "harness/plan/foreign_object.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/store/temporary_directory.h"

namespace crashgate::harness {
namespace {

namespace fs = std::filesystem;

class ForeignObjects : public ::testing::Test {
 protected:
  ForeignObjects() {
    fs::create_directory(root_);
    objects_ = {{ForeignKind::kSymlinkToFile, "file"},
                {ForeignKind::kSymlinkToDirectory, "d/e/directory"},
                {ForeignKind::kSymlinkToNothing, "nothing"},
                {ForeignKind::kSymlinkToObject, "d/linked"},
                {ForeignKind::kSymlinkToRoot, "d/root"},
                {ForeignKind::kFifo, "fifo"},
                {ForeignKind::kSocket, "socket"},
                {ForeignKind::kDirectory, "d/directory"}};
    if (why_no_devices().empty()) objects_.push_back({ForeignKind::kDevice, "device"});
    const auto placed = place_foreign_objects(root_, objects_);
    EXPECT_TRUE(placed.has_value()) << to_string(placed.error());
  }
  std::string damage() const { return damage_to_foreign_objects(root_, objects_); }

  testing::TemporaryDirectory place_;
  std::string root_ = place_ / "root";
  std::string outside_ = place_ / "outside";
  std::vector<ForeignObject> objects_;
};

TEST_F(ForeignObjects, AreWhatTheirNamesSay) {
  std::ofstream(root_ + "/object") << "an object";
  EXPECT_TRUE(fs::equivalent(root_ + "/file", outside_ + "/file"));
  EXPECT_TRUE(fs::equivalent(root_ + "/d/e/directory/sub/file", outside_ + "/sub/file"));
  EXPECT_TRUE(fs::is_symlink(root_ + "/nothing"));
  EXPECT_FALSE(fs::exists(root_ + "/nothing"));
  EXPECT_TRUE(fs::equivalent(root_ + "/d/linked", root_ + "/object"));
  EXPECT_TRUE(fs::equivalent(root_ + "/d/root", root_));
  EXPECT_TRUE(fs::is_fifo(root_ + "/fifo"));
  EXPECT_TRUE(fs::is_socket(root_ + "/socket"));
  EXPECT_TRUE(fs::is_directory(root_ + "/d/directory"));
  EXPECT_EQ(damage(), "");
}

TEST_F(ForeignObjects, AreMissed) {
  for (const auto& object : objects_) {
    const auto path = fs::path(root_) / object.path;
    fs::rename(path, root_ + "/aside");
    EXPECT_EQ(damage(), "\"" + object.path + "\" was removed");
    std::ofstream(path) << "replaced";
    EXPECT_EQ(damage(), "\"" + object.path + "\" was replaced");
    fs::remove(path);
    fs::rename(root_ + "/aside", path);
    EXPECT_EQ(damage(), "");
  }
}

TEST_F(ForeignObjects, ASymlinkThatLeadsElsewhereIsReplaced) {
  fs::remove(root_ + "/file");
  fs::create_symlink("../outside/sub/file", root_ + "/file");
  EXPECT_EQ(damage(), "\"file\" was replaced");
}

TEST_F(ForeignObjects, WhatIsOutsideIsWatchedToo) {
  std::ofstream(outside_ + "/sub/new") << "";
  EXPECT_EQ(damage(), "\"sub/new\" was created outside the root");
  fs::remove(outside_ + "/sub/new");
  EXPECT_EQ(damage(), "");
  std::ofstream(outside_ + "/sub/file", std::ios::app) << "x";
  EXPECT_EQ(damage(), "\"sub/file\" outside the root was changed");
  fs::remove(outside_ + "/sub/file");
  EXPECT_EQ(damage(), "\"sub/file\" outside the root was removed");
}

TEST(Obstacle, StandsAtTheKeyOrAboveIt) {
  struct Row {
    ForeignKind kind;
    const char* key;
    bool obstructed;
    bool bars;
  };
  // The object is at d/x.
  const Row rows[] = {
      {ForeignKind::kFifo, "d/x", true, true},
      {ForeignKind::kFifo, "d/x/k", true, false},
      {ForeignKind::kFifo, "d", true, false},
      {ForeignKind::kFifo, "d/xy", false, false},
      {ForeignKind::kFifo, "x", false, false},
      {ForeignKind::kFifo, "", false, false},
      {ForeignKind::kDevice, "d/x/k", true, false},
      {ForeignKind::kSymlinkToRoot, "d/x", true, true},
      {ForeignKind::kSymlinkToNothing, "d/x/k/l", true, true},
      {ForeignKind::kDirectory, "d/x", true, false},
      {ForeignKind::kDirectory, "d/x/k", false, false},
  };
  for (const auto& row : rows) {
    const std::vector<ForeignObject> objects{{row.kind, "d/x"}};
    const auto obstacle = obstacle_to(row.key, objects);
    ASSERT_EQ(obstacle.has_value(), row.obstructed) << to_string(row.kind) << " " << row.key;
    if (!obstacle) continue;
    EXPECT_EQ(obstacle->bars, row.bars) << to_string(row.kind) << " " << row.key;
    EXPECT_EQ(obstacle->object, objects.data());
  }
}

}  // namespace
}  // namespace crashgate::harness
