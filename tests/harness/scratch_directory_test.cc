// What a killed owner leaves is removed by the next, and nothing else is.
#include "harness/plan/scratch_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "store/unique_fd.h"
#include "tests/store/temporary_directory.h"

namespace crashgate::harness {
namespace {

namespace fs = std::filesystem;

class ScratchDirectoryTest : public ::testing::Test {
 protected:
  ScratchDirectoryTest() { ::setenv("CRASHGATE_TMPDIR", place_.path().c_str(), 1); }
  ~ScratchDirectoryTest() override { ::unsetenv("CRASHGATE_TMPDIR"); }

  /// A process that has one with a file in it, and lives until it is killed; with `heir` a child of
  /// it lives on.
  struct Owner {
    pid_t pid = -1;
    pid_t heir = -1;
    std::string path;
  };
  static Owner start_owner(bool with_heir) {
    int ends[2];
    if (::pipe(ends) != 0) return {};
    Owner owner;
    owner.pid = ::fork();
    if (owner.pid == 0) {
      auto scratch = ScratchDirectory::create();
      if (!scratch) ::_exit(1);
      std::ofstream(scratch->path() + "/file") << "content";
      const pid_t heir = with_heir ? ::fork() : -1;
      if (heir != 0) {
        const auto line = std::to_string(heir) + " " + scratch->path() + "\n";
        if (::write(ends[1], line.data(), line.size()) < 0) ::_exit(1);
      }
      for (;;) ::pause();
    }
    ::close(ends[1]);
    const UniqueFd reader(ends[0]);
    std::string line;
    char next = 0;
    while (::read(reader.get(), &next, 1) == 1 && next != '\n') line += next;
    owner.heir = std::stoi(line);
    owner.path = line.substr(line.find(' ') + 1);
    return owner;
  }
  static void end(const Owner& owner) {
    ::kill(owner.pid, SIGKILL);
    ::waitpid(owner.pid, nullptr, 0);
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
};

TEST_F(ScratchDirectoryTest, OfADeadOwnerIsRemovedByTheNext) {
  const auto owner = start_owner(false);
  end(owner);
  ASSERT_TRUE(fs::exists(owner.path + "/file"));
  const auto next = ScratchDirectory::create();
  ASSERT_TRUE(next) << to_string(next.error());
  EXPECT_FALSE(fs::exists(owner.path));
  EXPECT_TRUE(fs::exists(next->path()));
}

TEST_F(ScratchDirectoryTest, OfALivingOwnerOrItsHeirStays) {
  const auto owner = start_owner(true);
  ASSERT_GT(owner.heir, 0);
  { const auto next = ScratchDirectory::create(); }
  EXPECT_TRUE(fs::exists(owner.path + "/file"));
  end(owner);
  { const auto next = ScratchDirectory::create(); }
  EXPECT_TRUE(fs::exists(owner.path + "/file"));
  ::kill(owner.heir, SIGKILL);
  // It is not our child: once it is dead, the lock is free.
  while (fs::exists(owner.path)) const auto next = ScratchDirectory::create();
}

TEST_F(ScratchDirectoryTest, LeavesAloneWhatIsNoneOfOurs) {
  fs::create_directory(place_ / "crashgate-test-AbCdEf");
  fs::create_directory(place_ / "crashgate-Ab.dEf");
  fs::create_directory(place_ / "elsewhere");
  std::ofstream(place_ / "elsewhere/file") << "content";
  fs::create_directory_symlink(place_ / "elsewhere", place_ / "crashgate-LinkXX");
  std::ofstream(place_ / "crashgate-FileXX") << "content";
  { const auto next = ScratchDirectory::create(); }
  for (const auto* name : {"crashgate-test-AbCdEf", "crashgate-Ab.dEf", "elsewhere/file",
                           "crashgate-LinkXX", "crashgate-FileXX"}) {
    EXPECT_TRUE(fs::exists(place_ / name)) << name;
  }
}

TEST(CopyTree, LeavesOutWhatIsNeitherFileNorDirectoryNorSymlink) {
  const testing::TemporaryDirectory place;
  const auto from = place / "from";
  fs::create_directories(from + "/d/empty");
  std::ofstream(from + "/d/file") << "content";
  fs::create_symlink("nothing", from + "/d/link");
  ASSERT_EQ(::mkfifo((from + "/fifo").c_str(), 0600), 0);
  const auto copied = copy_tree(from, place / "to");
  ASSERT_TRUE(copied.has_value()) << to_string(copied.error());
  EXPECT_TRUE(fs::is_directory(place / "to/d/empty"));
  EXPECT_EQ(fs::file_size(place / "to/d/file"), 7U);
  EXPECT_EQ(fs::read_symlink(place / "to/d/link"), "nothing");
  EXPECT_FALSE(fs::exists(place / "to/fifo"));
  EXPECT_FALSE(copy_tree(place / "none", place / "to2").has_value());
}

TEST_F(ScratchDirectoryTest, DeepTreesAreRemovedWithFewDescriptors) {
  const auto top = place_.path() + "/deep";
  ASSERT_EQ(::mkdir(top.c_str(), 0700), 0);
  UniqueFd directory(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int depth = 0; depth < 1100; ++depth) {
    for (const char* name : {"a", "z"}) {
      ASSERT_TRUE(UniqueFd(::openat(directory.get(), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
    }
    ASSERT_EQ(::mkdirat(directory.get(), "down", 0700), 0);
    directory = UniqueFd(::openat(directory.get(), "down", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(directory);
  }
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{128, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto removed = remove_tree(top);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(removed.has_value());
  EXPECT_FALSE(fs::exists(top));
}

}  // namespace
}  // namespace crashgate::harness
