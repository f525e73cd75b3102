// What other programs may put into the root: symlinks, FIFOs, sockets, devices, directories.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/store/store_fixture.h"

namespace crashgate::testing {
namespace {

class StoreForeignFilesTest : public StoreTest {
 protected:
  StoreForeignFilesTest() {
    outside_ = directory_ / "outside";
    std::filesystem::create_directories(outside_);
    auto other = open_store(outside_);
    EXPECT_OK(other.put("secret", "untouched"));
  }

  void expect_every_call(const std::string& key, ErrorCode code) {
    EXPECT_EQ(code_of(store_.put(key, "x")), code) << key;
    EXPECT_EQ(code_of(store_.put_if_absent(key, "x")), code) << key;
    EXPECT_EQ(code_of(store_.get(key)), code) << key;
    EXPECT_EQ(code_of(store_.get_range(key, 0, 1)), code) << key;
    EXPECT_EQ(code_of(store_.exists(key)), code) << key;
    EXPECT_EQ(code_of(store_.remove(key)), code) << key;
    EXPECT_EQ(count_files(temporaries()), 0U);
  }

  std::string outside_;
};

TEST_F(StoreForeignFilesTest, SymlinkOnTheWayIsAnInvalidKey) {
  std::filesystem::create_directories(root() + "/d");
  std::filesystem::create_directory_symlink(outside_, root() + "/absolute");
  std::filesystem::create_directory_symlink("../../outside", root() + "/d/relative");
  std::filesystem::create_directory_symlink("d", root() + "/within");
  std::filesystem::create_directory_symlink("none", root() + "/dangling");
  std::filesystem::create_directory_symlink("loop", root() + "/loop");
  for (const std::string key : {"absolute/secret", "absolute/new", "absolute/d/new",
                                "d/relative/secret", "within/k", "dangling/k", "loop/k"}) {
    expect_every_call(key, ErrorCode::kInvalidKey);
    EXPECT_EQ(store_.get(key).error().errno_value, ELOOP) << key;
  }
  EXPECT_EQ(open_store(outside_).get("secret").value(), "untouched");
  EXPECT_EQ(open_store(outside_).list("").value().size(), 1U);
  EXPECT_TRUE(std::filesystem::is_symlink(root() + "/absolute"));
}

TEST_F(StoreForeignFilesTest, WhatIsNoFileIsNeitherOpenedNorFollowedNorReplaced) {
  std::filesystem::create_symlink(outside_ + "/secret", root() + "/link");
  std::filesystem::create_symlink(outside_ + "/new", root() + "/dangling");
  ASSERT_EQ(::mkfifo((root() + "/fifo").c_str(), 0666), 0);
  std::vector<std::string> keys{"link", "dangling", "fifo", "socket"};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto path = root() + "/socket";
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (::mknod((root() + "/device").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0) {
    keys.push_back("device");
  }
  for (const auto& key : keys) {
    expect_every_call(key, ErrorCode::kNotAnObject);
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::symlink_status(root() + "/" + key)))
        << key;
    EXPECT_FALSE(
        std::filesystem::is_regular_file(std::filesystem::symlink_status(root() + "/" + key)));
  }
  EXPECT_FALSE(std::filesystem::exists(outside_ + "/new"));
  EXPECT_EQ(open_store(outside_).get("secret").value(), "untouched");
  EXPECT_EQ(store_.list("").value(), std::vector<std::string>{});
}

TEST_F(StoreForeignFilesTest, DirectoryAtAKey) {
  EXPECT_OK(store_.put("d/k", "x"));
  EXPECT_EQ(code_of(store_.put("d", "x")), ErrorCode::kConflict);
  EXPECT_EQ(code_of(store_.put_if_absent("d", "x")), ErrorCode::kConflict);
  EXPECT_EQ(code_of(store_.get("d")), ErrorCode::kNotFound);
  EXPECT_FALSE(store_.exists("d").value());
  EXPECT_OK(store_.remove("d"));
  EXPECT_EQ(store_.get("d/k").value(), "x");
  EXPECT_EQ(count_files(temporaries()), 0U);
}

TEST_F(StoreForeignFilesTest, KeyBelowAnObject) {
  EXPECT_OK(store_.put("o", "x"));
  for (const std::string key : {"o/k", "o/a/b/k"}) {
    EXPECT_EQ(code_of(store_.put(key, "x")), ErrorCode::kConflict);
    EXPECT_EQ(code_of(store_.put_if_absent(key, "x")), ErrorCode::kConflict);
    EXPECT_EQ(code_of(store_.get(key)), ErrorCode::kNotFound);
    EXPECT_EQ(code_of(store_.get_range(key, 0, 1)), ErrorCode::kNotFound);
    EXPECT_FALSE(store_.exists(key).value());
    EXPECT_OK(store_.remove(key));
  }
  EXPECT_EQ(store_.get("o").value(), "x");
}

}  // namespace
}  // namespace crashgate::testing
