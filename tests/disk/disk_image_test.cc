#include "harness/disk/disk_image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

constexpr std::uint64_t kSize = 1 << 20;

void write_at(const DiskImage& image, std::uint64_t offset, const std::string& bytes) {
  ASSERT_EQ(::pwrite(image.fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
}

std::string content(const DiskImage& image) {
  std::string bytes(image.size_bytes(), '\xff');
  EXPECT_EQ(::pread(image.fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

std::uint64_t memory_of(int file) {
  struct stat status {};
  EXPECT_EQ(::fstat(file, &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

DiskImage image_with_something() {
  auto image = DiskImage::create(kSize);
  EXPECT_TRUE(image);
  write_at(*image, 4096 * 3 + 1000, "across a page" + std::string(5000, 'x'));
  write_at(*image, 4096 * 100, std::string(3 * 4096, '\0'));
  write_at(*image, kSize - 1, "e");
  return std::move(*image);
}

TEST(DiskImage, ACopyHasTheContentAndGoesItsOwnWay) {
  const DiskImage image = image_with_something();
  const auto copy = image.copy();
  ASSERT_TRUE(copy);
  EXPECT_EQ(content(*copy), content(image));
  write_at(*copy, 0, "changed");
  EXPECT_EQ(content(image).substr(0, 7), std::string(7, '\0'));
}

TEST(DiskImage, ZerosGiveTheirMemoryBack) {
  DiskImage image = image_with_something();
  const std::string before = content(image);
  EXPECT_EQ(memory_of(image.fd()), 6 * 4096);
  ASSERT_TRUE(image.punch_zeros());
  EXPECT_EQ(memory_of(image.fd()), 3 * 4096);
  EXPECT_EQ(content(image), before);
}

TEST(DiskImage, IsSavedSparselyAndLoadedAgain) {
  const auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch);
  const std::string path = scratch->path() + "/image";
  const DiskImage image = image_with_something();
  ASSERT_TRUE(DiskImage::create(4096)->save(path));
  ASSERT_TRUE(image.save(path));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_LE(status.st_blocks * 512, 3 * 4096);
  const auto loaded = DiskImage::load(path);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(content(*loaded), content(image));
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch->path()))
    ++entries;
  EXPECT_EQ(entries, 1U);
}

TEST(DiskImage, WhatCannotBeSavedLeavesTheOldOne) {
  const auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch);
  const DiskImage image = image_with_something();
  EXPECT_FALSE(image.save(scratch->path() + "/nowhere/image"));
  std::filesystem::create_directory(scratch->path() + "/taken");
  EXPECT_FALSE(image.save(scratch->path() + "/taken"));
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch->path()))
    ++entries;
  EXPECT_EQ(entries, 1U);
}

TEST(DiskImage, NoImageIsLoadedFromWhatIsNoFile) {
  const auto nothing = DiskImage::load("/nonexistent/image");
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(DiskImage::load("/"));
}

}  // namespace
}  // namespace crashgate::harness
