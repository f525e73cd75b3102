#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "tests/store/store_fixture.h"

namespace crashgate::testing {
namespace {

using StoreListTest = StoreTest;
using Keys = std::vector<std::string>;

TEST_F(StoreListTest, SortedByBytesAndByKeyPrefix) {
  for (const std::string key : {"b", "a/x", "a.x", "a0", "a/y/z", "ab/c", "\xff", "B"}) {
    EXPECT_OK(store_.put(key, ""));
  }
  EXPECT_EQ(store_.list("").value(), (Keys{"B", "a.x", "a/x", "a/y/z", "a0", "ab/c", "b", "\xff"}));
  EXPECT_EQ(store_.list("a").value(), (Keys{"a.x", "a/x", "a/y/z", "a0", "ab/c"}));
  EXPECT_EQ(store_.list("a/").value(), (Keys{"a/x", "a/y/z"}));
  EXPECT_EQ(store_.list("a/y").value(), (Keys{"a/y/z"}));
  EXPECT_EQ(store_.list("a/y/z").value(), (Keys{"a/y/z"}));
  EXPECT_EQ(store_.list("a/y/z/").value(), Keys{});
  EXPECT_EQ(store_.list("ab").value(), (Keys{"ab/c"}));
  EXPECT_EQ(store_.list("none/at/all").value(), Keys{});
}

TEST_F(StoreListTest, PrefixIsAnyString) {
  EXPECT_OK(store_.put("a/b", ""));
  for (const auto& prefix :
       {std::string("/"), std::string("../"), std::string("a//"), std::string("a/../"),
        std::string("./a"), std::string(".crashgate/"), std::string("a\0", 2),
        std::string("a\0/b", 4), std::string(300, 'x') + "/", std::string(5000, 'x')}) {
    EXPECT_EQ(store_.list(prefix).value(), Keys{}) << prefix;
  }
}

TEST_F(StoreListTest, SaysNothingOfWhatIsNoObject) {
  EXPECT_OK(store_.put("d/k", ""));
  EXPECT_OK(store_.remove("d/k"));
  std::filesystem::create_directory_symlink(directory_.path(), root() + "/link");
  ASSERT_EQ(::mkfifo((root() + "/fifo").c_str(), 0600), 0);
  std::filesystem::create_directories(root() + "/sub/.crashgate");
  EXPECT_OK(store_.put("sub/.crashgate/key", ""));
  EXPECT_EQ(store_.list("").value(), (Keys{"sub/.crashgate/key"}));
  EXPECT_EQ(store_.list("link/").value(), Keys{});
}

TEST_F(StoreListTest, SurvivesConcurrentChangesAndMissesNothingThatStays) {
  Keys stay;
  for (int i = 0; i < 50; ++i) {
    stay.push_back("d/s" + std::to_string(100 + i));
    EXPECT_OK(store_.put(stay.back(), ""));
  }
  std::atomic<bool> stop = false;
  std::thread churner([&] {
    for (int i = 0; !stop; ++i) {
      const auto key = "d/x" + std::to_string(i % 20);
      EXPECT_OK(store_.put(key, ""));
      EXPECT_OK(store_.remove(key));
      std::error_code ignored;
      std::filesystem::create_directories(root() + "/d/gone/deep", ignored);
      std::filesystem::remove_all(root() + "/d/gone", ignored);
    }
  });
  for (int i = 0; i < 100; ++i) {
    const auto keys = store_.list("d/s");
    EXPECT_OK(keys);
    EXPECT_EQ(*keys, stay);
    EXPECT_OK(store_.list(""));
  }
  stop = true;
  churner.join();
}

// tmpfs moves a name that is replaced to the end, past where a reader that has begun will stop; the
// directory must be too large for one getdents64 call to show it.
TEST_F(StoreListTest, MissesNoKeyThatIsOverwritten) {
  const bool tmpfs = std::filesystem::is_directory("/dev/shm");
  if (!tmpfs) GTEST_SKIP() << "needs a tmpfs at /dev/shm";
  const TemporaryDirectory directory("/dev/shm");
  const auto store = open_store(directory / "root");
  constexpr std::size_t kKeys = 2000;
  const auto key = [](std::size_t i) { return "d/" + std::to_string(i % kKeys); };
  for (std::size_t i = 0; i < kKeys; ++i) EXPECT_OK(store.put(key(i), ""));
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (std::size_t i = 0; !stop; i += 7) EXPECT_OK(store.put(key(i), ""));
  });
  for (int i = 0; i < 60; ++i) EXPECT_EQ(store.list("d/").value().size(), kKeys);
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace crashgate::testing
