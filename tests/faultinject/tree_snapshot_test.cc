#include "faultinject/tree_snapshot.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {
namespace {

/// Restores the limit.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t most) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few{most, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
  }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

TEST(TreeSnapshot, ReadsATreeDeeperThanThereAreDescriptors) {
  constexpr std::size_t kDepth = 1100;
  char place[] = "/dev/shm/tree_snapshot_test.XXXXXX";
  ASSERT_NE(mkdtemp(place), nullptr);
  UniqueFd directory(open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (std::size_t depth = 0; depth < kDepth; ++depth) {
    for (const char* file : {"a", "z"}) {
      ASSERT_TRUE(UniqueFd(openat(directory.get(), file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
    }
    ASSERT_EQ(mkdirat(directory.get(), "down", 0700), 0);
    directory.reset(openat(directory.get(), "down", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(directory);
  }
  FileNumbering numbering;
  std::string bytes;
  {
    const FewDescriptors limited(128);
    const auto tree = read_tree(place, IgnoredPaths(), numbering, bytes);
    ASSERT_TRUE(tree.has_value()) << tree.error().message.substr(0, 200);
    EXPECT_EQ(tree->files.size(), 1 + 3 * kDepth);
    std::size_t full = 0;
    for (const SnapshotFile& file : tree->files) full += file.entries.size() == 3 ? 1 : 0;
    EXPECT_EQ(full, kDepth);
  }
  directory.reset();
  std::filesystem::remove_all(place);
}

}  // namespace
}  // namespace crashgate::faultinject
