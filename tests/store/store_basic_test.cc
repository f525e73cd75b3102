#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <limits>
#include <type_traits>

#include "tests/store/store_fixture.h"

namespace crashgate::testing {
namespace {

static_assert(!std::is_copy_constructible_v<LocalFileStore>);
static_assert(std::is_nothrow_move_constructible_v<LocalFileStore>);

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

using StoreBasicTest = StoreTest;

TEST_F(StoreBasicTest, PutThenGet) {
  for (const std::size_t size : {0, 1, 511, 512, 4095, 4096, 4097, 1 << 20}) {
    const std::string payload(size, static_cast<char>('a' + size % 26));
    EXPECT_OK(store_.put("key", payload));
    EXPECT_EQ(store_.get("key").value(), payload);
  }
}

TEST_F(StoreBasicTest, PayloadIsAnyBytes) {
  std::string payload;
  for (int byte = 0; byte < 256; ++byte) payload += static_cast<char>(byte);
  EXPECT_OK(store_.put("key", payload));
  EXPECT_EQ(store_.get("key").value(), payload);
}

TEST_F(StoreBasicTest, AbsentKeys) {
  EXPECT_EQ(code_of(store_.get("a")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(store_.get("a/b/c")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(store_.get_range("a", 0, 1)), ErrorCode::kNotFound);
  EXPECT_FALSE(store_.exists("a").value());
  EXPECT_FALSE(store_.exists("a/b/c").value());
  EXPECT_OK(store_.remove("a"));
  EXPECT_OK(store_.remove("a/b/c"));
  EXPECT_EQ(count_files(root()), 1U) << "remove must create nothing";
}

TEST_F(StoreBasicTest, PutIfAbsentKeepsTheFirst) {
  EXPECT_OK(store_.put_if_absent("a/k", "first"));
  EXPECT_EQ(code_of(store_.put_if_absent("a/k", "second")), ErrorCode::kAlreadyExists);
  EXPECT_EQ(store_.get("a/k").value(), "first");
  EXPECT_OK(store_.remove("a/k"));
  EXPECT_OK(store_.put_if_absent("a/k", "third"));
  EXPECT_EQ(store_.get("a/k").value(), "third");
  EXPECT_EQ(count_files(temporaries()), 0U);
}

TEST_F(StoreBasicTest, RemoveLeavesEmptyParents) {
  EXPECT_OK(store_.put("a/b/c", "x"));
  EXPECT_OK(store_.remove("a/b/c"));
  EXPECT_FALSE(store_.exists("a/b/c").value());
  EXPECT_TRUE(std::filesystem::is_directory(root() + "/a/b"));
}

TEST_F(StoreBasicTest, GetRange) {
  EXPECT_OK(store_.put("k", "0123456789"));
  EXPECT_EQ(store_.get_range("k", 0, 10).value(), "0123456789");
  EXPECT_EQ(store_.get_range("k", 3, 4).value(), "3456");
  EXPECT_EQ(store_.get_range("k", 8, 100).value(), "89");
  EXPECT_EQ(store_.get_range("k", 3, 0).value(), "");
  EXPECT_EQ(store_.get_range("k", 10, 0).value(), "");
  EXPECT_EQ(store_.get_range("k", 10, 5).value(), "");
  EXPECT_EQ(store_.get_range("k", 1, kMax - 1).value(), "123456789");
  EXPECT_EQ(code_of(store_.get_range("k", 11, 0)), ErrorCode::kOutOfRange);
  EXPECT_EQ(code_of(store_.get_range("k", 1, kMax)), ErrorCode::kOutOfRange);
  EXPECT_EQ(code_of(store_.get_range("k", kMax, 1)), ErrorCode::kOutOfRange);
  EXPECT_EQ(code_of(store_.get_range("k", kMax, 0)), ErrorCode::kOutOfRange);
  EXPECT_OK(store_.put("empty", ""));
  EXPECT_EQ(store_.get_range("empty", 0, 1).value(), "");
}

// A sparse file far larger than memory: only the range is read or allocated.
TEST_F(StoreBasicTest, GetRangeReadsOnlyTheRange) {
  EXPECT_OK(store_.put("huge", ""));
  constexpr off_t kSize = off_t{1} << 42;
  ASSERT_EQ(::truncate((root() + "/huge").c_str(), kSize), 0);
  EXPECT_EQ(store_.get_range("huge", kSize - 3, 10).value(), std::string(3, '\0'));
}

TEST_F(StoreBasicTest, EveryCallRefusesIllegalKeys) {
  for (const std::string key :
       {"", "..", "../outside", "/etc/passwd", "a//b", ".crashgate/tmp/x"}) {
    EXPECT_EQ(code_of(store_.put(key, "x")), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store_.put_if_absent(key, "x")), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store_.get(key)), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store_.get_range(key, 0, 1)), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store_.remove(key)), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store_.exists(key)), ErrorCode::kInvalidKey) << key;
  }
  EXPECT_EQ(count_files(directory_.path()), 1U);
  EXPECT_EQ(count_files(root()), 1U);
}

TEST_F(StoreBasicTest, LongAndSimilarKeys) {
  std::string deep;
  for (int i = 0; i < 1999; ++i) deep += "d/";
  deep += "xy";
  ASSERT_EQ(deep.size(), 4000U);
  std::string wide;
  for (int i = 0; i < 15; ++i) wide += std::string(255, static_cast<char>('a' + i)) + "/";
  wide += std::string(4000 - wide.size(), 'z');
  for (const auto& key : {deep, wide, std::string(255, 'c'), std::string("a.b"), std::string("a.c"),
                          std::string("a"), std::string("sub/\xff\n")}) {
    EXPECT_OK(store_.put(key, key));
    EXPECT_EQ(code_of(store_.put_if_absent(key, "no")), ErrorCode::kAlreadyExists);
    EXPECT_EQ(store_.get(key).value(), key);
  }
  EXPECT_EQ(store_.list("").value().size(), 7U);
  EXPECT_EQ(store_.list(deep.substr(0, 3999)).value(), std::vector<std::string>{deep});
  EXPECT_EQ(store_.list(wide.substr(0, 2000)).value(), std::vector<std::string>{wide});
  EXPECT_OK(store_.remove(deep));
  EXPECT_FALSE(store_.exists(deep).value());
}

TEST_F(StoreBasicTest, ErrorsNameCallAndPath) {
  EXPECT_OK(store_.put("a/file", "x"));
  const auto under = store_.put("a/file/below", "x");
  ASSERT_FALSE(under);
  EXPECT_EQ(to_string(under.error()), "put: openat2 a/file: Conflict: Not a directory");
  const auto missing = store_.get("a/none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(to_string(missing.error()), "get: fstatat a/none: NotFound: No such file or directory");
}

TEST_F(StoreBasicTest, OpensAgainAndMoves) {
  EXPECT_OK(store_.put("k", "x"));
  auto second = open_store(root() + "/");
  const auto moved = std::move(second);
  EXPECT_EQ(moved.get("k").value(), "x");
}

TEST_F(StoreBasicTest, OpenRefusesWhatCannotBeARoot) {
  EXPECT_EQ(code_of(LocalFileStore::open("")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(LocalFileStore::open(std::string("a\0b", 3))), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(LocalFileStore::open(directory_ / "no/parent")), ErrorCode::kNotFound);
  EXPECT_OK(store_.put("file", "x"));
  EXPECT_EQ(code_of(LocalFileStore::open(root() + "/file")), ErrorCode::kConflict);
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(code_of(LocalFileStore::open(directory_ / "fifo")), ErrorCode::kConflict);
}

TEST_F(StoreBasicTest, OpenFollowsNoSymlinkAtItsOwnDirectory) {
  std::filesystem::create_directories(directory_ / "outside");
  for (const std::string link : {".crashgate", ".crashgate/tmp"}) {
    const auto root = directory_ / ("root-" + std::to_string(link.size()));
    std::filesystem::create_directories(std::filesystem::path(root + "/" + link).parent_path());
    std::filesystem::create_directory_symlink(directory_ / "outside", root + "/" + link);
    EXPECT_EQ(code_of(LocalFileStore::open(root)), ErrorCode::kInvalidKey) << link;
  }
  EXPECT_EQ(count_files(directory_ / "outside"), 0U);
}

TEST_F(StoreBasicTest, LeaksNoDescriptor) {
  const auto all = [&] {
    (void)store_.put("a/b", "x");
    (void)store_.put("a", "x");
    (void)store_.put("a/b/c", "x");
    (void)store_.put_if_absent("a/b", "x");
    (void)store_.put_if_absent("a/new", "x");
    (void)store_.get("a/b");
    (void)store_.get("a/none");
    (void)store_.get_range("a/b", 5, 5);
    (void)store_.exists("a/b");
    (void)store_.list("");
    (void)store_.recover();
    (void)store_.remove("a/new");
    (void)store_.remove("q/r");
    (void)LocalFileStore::open(root());
  };
  all();
  const auto before = count_files("/proc/self/fd");
  for (int i = 0; i < 3; ++i) all();
  EXPECT_EQ(count_files("/proc/self/fd"), before);
}

}  // namespace
}  // namespace crashgate::testing
