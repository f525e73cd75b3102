// Kernels, file systems and containers that lack what the store would rather use.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include "tests/store/child_process.h"
#include "tests/store/store_fixture.h"
#include "tests/store/syscall_filter.h"

namespace crashgate::testing {
namespace {

void deny_temporary_files(int errno_value) {
  constexpr auto kBit = static_cast<std::uint32_t>(O_TMPFILE & ~O_DIRECTORY);
  ASSERT_TRUE(deny(SYS_openat, errno_value, ArgumentIs{2, kBit, kBit}));
}

struct Lack {
  const char* name;
  void (*impose)();
};

const Lack kLacks[] = {
    {"Nothing", [] {}},
    {"Openat2", [] { ASSERT_TRUE(deny(SYS_openat2, ENOSYS)); }},
    {"Openat2ByContainer", [] { ASSERT_TRUE(deny(SYS_openat2, EPERM)); }},
    {"TemporaryFiles", [] { deny_temporary_files(EOPNOTSUPP); }},
    {"TemporaryFilesOnOldKernel", [] { deny_temporary_files(EISDIR); }},
    {"TemporaryFilesAndRenameat2",
     [] {
       deny_temporary_files(EINVAL);
       ASSERT_TRUE(deny(SYS_renameat2, ENOSYS));
     }},
    {"TemporaryFilesAndNoReplace",
     [] {
       deny_temporary_files(EOPNOTSUPP);
       ASSERT_TRUE(deny(SYS_renameat2, EINVAL));
     }},
    {"LinkOfDescriptor",
     [] {
       ASSERT_TRUE(deny(SYS_linkat, ENOENT, ArgumentIs{4, AT_EMPTY_PATH}));
     }},
    {"LinkOfDescriptorAndProc", [] { ASSERT_TRUE(deny(SYS_linkat, ENOENT)); }},
    {"Everything",
     [] {
       deny_temporary_files(EOPNOTSUPP);
       ASSERT_TRUE(deny(SYS_openat2, ENOSYS));
       ASSERT_TRUE(deny(SYS_renameat2, ENOSYS));
     }},
};

class StoreFallbackTest : public StoreTest, public ::testing::WithParamInterface<Lack> {};

TEST_P(StoreFallbackTest, KeepsTheContract) {
  const auto outside = directory_ / "outside";
  std::filesystem::create_directories(outside);
  std::filesystem::create_directory_symlink(outside, root() + "/link");
  in_child([&] {
    GetParam().impose();
    const auto store = open_store(root());
    EXPECT_OK(store.put("a/b/k", "old"));
    EXPECT_OK(store.put("a/b/k", "new"));
    EXPECT_OK(store.put_if_absent("a/n", "first"));
    EXPECT_OK(store.put_if_absent("top", "first"));
    EXPECT_EQ(code_of(store.put_if_absent("a/n", "second")), ErrorCode::kAlreadyExists);
    EXPECT_EQ(store.get("a/b/k").value(), "new");
    EXPECT_EQ(store.get("a/n").value(), "first");
    EXPECT_EQ(store.get("top").value(), "first");
    EXPECT_EQ(store.list("").value(), (std::vector<std::string>{"a/b/k", "a/n", "top"}));
    EXPECT_FALSE(store.exists("x/y").value());
    EXPECT_EQ(code_of(store.put("a/n/below", "x")), ErrorCode::kConflict);
    EXPECT_EQ(code_of(store.put("a/b", "x")), ErrorCode::kConflict);
    EXPECT_FALSE(store.exists("a/n/below").value());
    for (const std::string key : {"link/k", "link/d/k"}) {
      const auto answer = store.put(key, "x");
      EXPECT_EQ(code_of(answer), ErrorCode::kInvalidKey);
      EXPECT_EQ(answer.error().errno_value, ELOOP);
      EXPECT_EQ(code_of(store.get(key)), ErrorCode::kInvalidKey);
    }
    EXPECT_OK(store.remove("a/b/k"));
    EXPECT_OK(store.remove("q/r"));
    EXPECT_EQ(store.list("a/").value(), (std::vector<std::string>{"a/n"}));
    EXPECT_EQ(count_files(temporaries()), 0U);
    EXPECT_EQ(store.recover().value().removed, 0U);
  });
  EXPECT_EQ(count_files(outside), 0U);
}

INSTANTIATE_TEST_SUITE_P(Without, StoreFallbackTest, ::testing::ValuesIn(kLacks),
                         [](const auto& lack) { return lack.param.name; });

}  // namespace
}  // namespace crashgate::testing
