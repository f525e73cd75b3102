#include "harness/disk/file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "faultinject/disk/loop_device.h"
#include "harness/plan/scratch_directory.h"
#include "tests/disk/isolated.h"

namespace crashgate::harness {
namespace {

using faultinject::LoopDevice;

class FileSystems : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto why = faultinject::why_no_loop_devices(); !why.empty()) GTEST_SKIP() << why;
    choice.file_system = find_file_system(GetParam());
    ASSERT_NE(choice.file_system, nullptr);
    if (const auto why = why_no_file_system(*choice.file_system); !why.empty()) GTEST_SKIP() << why;
  }

  FileSystemChoice choice;
};

INSTANTIATE_TEST_SUITE_P(All, FileSystems, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& instance) { return instance.param; });

TEST_P(FileSystems, IsMadeMountedCheckedAndUnmounted) {
  isolated([&] {
    const auto image = make_file_system(choice);
    ASSERT_TRUE(image) << to_string(image.error());
    const auto device = LoopDevice::attach(image->fd(), false);
    ASSERT_TRUE(device) << device.error().message;
    const auto scratch = ScratchDirectory::create();
    ASSERT_TRUE(scratch);
    {
      auto mount = Mount::create(choice, device->path(), scratch->path());
      ASSERT_TRUE(mount) << to_string(mount.error());
      EXPECT_EQ(::mkdir((scratch->path() + "/directory").c_str(), 0755), 0);
      const auto unmounted = mount->unmount();
      EXPECT_TRUE(unmounted) << to_string(unmounted.error());
    }
    const auto sound = check_file_system(choice, device->path());
    ASSERT_TRUE(sound) << to_string(sound.error());
    EXPECT_EQ(*sound, "");
    EXPECT_NE(::access((scratch->path() + "/directory").c_str(), F_OK), 0);
    const auto again = Mount::create(choice, device->path(), scratch->path());
    ASSERT_TRUE(again) << to_string(again.error());
    EXPECT_EQ(::access((scratch->path() + "/directory").c_str(), F_OK), 0);
  });
}

TEST_P(FileSystems, TwoOfOneIdentityAreMountedAtOnce) {
  isolated([&] {
    const auto first = make_file_system(choice);
    ASSERT_TRUE(first) << to_string(first.error());
    const auto second = first->copy();
    ASSERT_TRUE(second);
    const auto scratch = ScratchDirectory::create();
    ASSERT_TRUE(scratch);
    const auto device_1 = LoopDevice::attach(first->fd(), false);
    const auto device_2 = LoopDevice::attach(second->fd(), false);
    ASSERT_TRUE(device_1 && device_2);
    const std::string place_1 = scratch->path() + "/1";
    const std::string place_2 = scratch->path() + "/2";
    ASSERT_EQ(::mkdir(place_1.c_str(), 0700) + ::mkdir(place_2.c_str(), 0700), 0);
    const auto mount_1 = Mount::create(choice, device_1->path(), place_1);
    ASSERT_TRUE(mount_1) << to_string(mount_1.error());
    const auto mount_2 = Mount::create(choice, device_2->path(), place_2);
    ASSERT_TRUE(mount_2) << to_string(mount_2.error());
    EXPECT_EQ(::mkdir((place_1 + "/only here").c_str(), 0755), 0);
    EXPECT_EQ(::access((place_1 + "/only here").c_str(), F_OK), 0);
    EXPECT_NE(::access((place_2 + "/only here").c_str(), F_OK), 0);
    // Nor do they keep another run from making its own.
    const auto third = make_file_system(choice);
    EXPECT_TRUE(third) << to_string(third.error());
  });
}

TEST_P(FileSystems, ABusyMountIsAnErrorAndStaysUntilItIsFree) {
  isolated([&] {
    const auto image = make_file_system(choice);
    ASSERT_TRUE(image) << to_string(image.error());
    const auto device = LoopDevice::attach(image->fd(), false);
    ASSERT_TRUE(device);
    const auto scratch = ScratchDirectory::create();
    ASSERT_TRUE(scratch);
    auto mount = Mount::create(choice, device->path(), scratch->path());
    ASSERT_TRUE(mount) << to_string(mount.error());
    const int user = ::open(scratch->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const auto busy = mount->unmount();
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().errno_value, EBUSY);
    const std::string self = "(process " + std::to_string(::getpid()) + ")";
    EXPECT_NE(busy.error().operation.find(self), std::string::npos) << to_string(busy.error());
    ::close(user);
    EXPECT_TRUE(mount->unmount());
  });
}

TEST_P(FileSystems, WrongOptionsAreSaidToBe) {
  isolated([&] {
    FileSystemChoice wrong = choice;
    wrong.make_options = {"--no-such-option"};
    const auto unmade = make_file_system(wrong);
    ASSERT_FALSE(unmade);
    EXPECT_EQ(unmade.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(to_string(unmade.error()).find("option"), std::string::npos)
        << to_string(unmade.error());
    wrong = choice;
    wrong.size_bytes = 4096;
    EXPECT_FALSE(make_file_system(wrong));

    const auto image = make_file_system(choice);
    ASSERT_TRUE(image) << to_string(image.error());
    const auto device = LoopDevice::attach(image->fd(), false);
    ASSERT_TRUE(device);
    const auto scratch = ScratchDirectory::create();
    ASSERT_TRUE(scratch);
    wrong = choice;
    wrong.mount_options = "noatime,no_such_option";
    const auto refused = Mount::create(wrong, device->path(), scratch->path());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(to_string(refused.error()).find("no_such_option"), std::string::npos);

    wrong.mount_options = "noatime";
    const auto mounted = Mount::create(wrong, device->path(), scratch->path());
    EXPECT_TRUE(mounted) << to_string(mounted.error());
  });
}

TEST_P(FileSystems, WhatIsDamagedIsNotSound) {
  isolated([&] {
    const auto image = make_file_system(choice);
    ASSERT_TRUE(image) << to_string(image.error());
    const std::string garbage(64 * 1024, 'x');
    ASSERT_GT(::pwrite(image->fd(), garbage.data(), garbage.size(), 0), 0);
    ASSERT_GT(::pwrite(image->fd(), garbage.data(), garbage.size(), 65536), 0);
    const auto device = LoopDevice::attach(image->fd(), false);
    ASSERT_TRUE(device);
    const auto complaint = check_file_system(choice, device->path());
    ASSERT_TRUE(complaint) << to_string(complaint.error());
    EXPECT_NE(*complaint, "");
    const auto scratch = ScratchDirectory::create();
    ASSERT_TRUE(scratch);
    EXPECT_FALSE(Mount::create(choice, device->path(), scratch->path()));
  });
}

TEST_P(FileSystems, WhatIsMissingIsNamed) {
  EXPECT_EQ(why_no_file_system(*choice.file_system), "");
  FileSystem other = *choice.file_system;
  other.check_command = "fsck.nothing -n";
  EXPECT_EQ(why_no_file_system(other),
            "fsck.nothing is not installed (package " + std::string(other.package) + ")");
  other = *choice.file_system;
  other.name = "nothingfs";
  EXPECT_EQ(why_no_file_system(other), "this kernel has no nothingfs");
}

TEST(FileSystemChoice, IsWrittenAsAUserAskedForIt) {
  FileSystemChoice choice{.file_system = find_file_system("ext4")};
  EXPECT_EQ(to_string(choice), "ext4");
  choice.mount_options = "data=journal";
  EXPECT_EQ(to_string(choice), "ext4 (mount data=journal)");
  choice.make_options = {"-O", "fast_commit"};
  EXPECT_EQ(to_string(choice), "ext4 (mkfs -O fast_commit; mount data=journal)");
  EXPECT_EQ(find_file_system("ntfs"), nullptr);
}

}  // namespace
}  // namespace crashgate::harness
