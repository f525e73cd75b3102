#include "faultinject/syscall_table.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>
#include <string>

// Numbers that this system's header may be too old to know.
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_file_getattr
#define SYS_file_getattr 468
#define SYS_file_setattr 469
#endif

namespace crashgate::faultinject {
namespace {

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < kRowCount; ++i) rows.push_back(static_cast<Row>(i));
  return rows;
}

bool has_role(const RowInfo& row, Role role) {
  return find_role(row, role) < kMaxArguments;
}

TEST(SyscallTableTest, NumbersAreThisMachines) {
#define CRASHGATE_ROW(name, number, ...) EXPECT_EQ(number, SYS_##name) << #name;
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW
}

TEST(SyscallTableTest, NamesNumbersAndPointsAreUnique) {
  std::set<std::string> names, points;
  std::set<long> numbers;
  for (Row row : all_rows()) {
    EXPECT_TRUE(names.insert(row_info(row).name).second) << row_info(row).name;
    EXPECT_TRUE(numbers.insert(row_info(row).number).second) << row_info(row).name;
    EXPECT_TRUE(points.insert(row_info(row).failure_point).second) << row_info(row).name;
  }
  for (const AliasInfo& alias : aliases())
    EXPECT_TRUE(names.insert(alias.name).second) << alias.name;
}

TEST(SyscallTableTest, RowsAreFoundByNameAliasAndNumber) {
  for (Row row : all_rows()) {
    EXPECT_EQ(find_row(row_info(row).name), row);
    EXPECT_EQ(find_row_by_number(row_info(row).number), row);
  }
  for (const AliasInfo& alias : aliases()) EXPECT_EQ(find_row(alias.name), alias.row) << alias.name;
  EXPECT_EQ(find_row("getpid"), std::nullopt);
  EXPECT_EQ(find_row_by_number(SYS_getpid), std::nullopt);
}

TEST(SyscallTableTest, ErrnosAreGivenOnceEach) {
  for (Row row : all_rows()) {
    const RowInfo& info = row_info(row);
    std::set<int> distinct(info.errnos.begin(), info.errnos.end());
    EXPECT_EQ(distinct.size(), info.errnos.size()) << info.name;
    EXPECT_EQ(info.errnos.empty(), row == Row::k_sync) << info.name;
    for (int value : info.errnos) EXPECT_NE(strerrorname_np(value), nullptr) << info.name;
  }
}

TEST(SyscallTableTest, RolesAreConsistent) {
  for (Row row : all_rows()) {
    const RowInfo& info = row_info(row);
    SCOPED_TRACE(info.name);
    auto end = std::find(info.roles.begin(), info.roles.end(), Role::kNone);
    EXPECT_TRUE(std::all_of(end, info.roles.end(), [](Role role) { return role == Role::kNone; }));
    for (std::size_t i = 0; i < kMaxArguments; ++i) {
      Role role = info.roles[i];
      if (role == Role::kDirectory || role == Role::kDirectory2) {
        ASSERT_LT(i + 1, kMaxArguments);
        EXPECT_EQ(info.roles[i + 1], role == Role::kDirectory ? Role::kPath : Role::kPath2);
      }
      if (role == Role::kIovec) {
        EXPECT_EQ(info.roles[i + 1], Role::kIovecCount);
      }
      if (role != Role::kNone && role != Role::kValue && role != Role::kOffset &&
          role != Role::kFlags) {
        EXPECT_EQ(std::count(info.roles.begin(), info.roles.end(), role), 1);
      }
    }
    EXPECT_FALSE(has_role(info, Role::kPath2) && !has_role(info, Role::kPath));
  }
}

TEST(SyscallTableTest, KindsFitTheirRoles) {
  for (Row row : all_rows()) {
    const RowInfo& info = row_info(row);
    SCOPED_TRACE(info.name);
    switch (info.kind) {
      case Kind::kWrite:
        EXPECT_TRUE(carries_data(info));
        [[fallthrough]];
      case Kind::kRead:
      case Kind::kLock:
        EXPECT_TRUE(has_role(info, Role::kDescriptor));
        break;
      case Kind::kName:
        EXPECT_TRUE(has_role(info, Role::kPath));
        break;
      case Kind::kAttribute:
      case Kind::kStat:
        EXPECT_TRUE(has_role(info, Role::kPath) || has_role(info, Role::kDescriptor));
        EXPECT_FALSE(carries_data(info));
        break;
      case Kind::kResize:
        EXPECT_TRUE(has_role(info, Role::kLength));
        break;
      default:
        break;
    }
  }
}

TEST(SyscallTableTest, KindsPartitionTheRows) {
  RowSet seen;
  for (std::size_t i = 0; i < kKindCount; ++i) {
    Kind kind = static_cast<Kind>(i);
    EXPECT_EQ(find_kind(kind_name(kind)), kind);
    RowSet rows = rows_of_kind(kind);
    EXPECT_TRUE(rows.any()) << kind_name(kind);
    EXPECT_TRUE((seen & rows).none()) << kind_name(kind);
    seen |= rows;
  }
  EXPECT_TRUE(seen.all());
  EXPECT_EQ(find_kind("nothing"), std::nullopt);
}

TEST(SyscallTableTest, FailurePointsAreLibfiusOwnWhereItHasThem) {
  const std::pair<const char*, const char*> kLibfiu[] = {
      {"open", "posix/io/oc/open"},
      {"close", "posix/io/oc/close"},
      {"fsync", "posix/io/sync/fsync"},
      {"fdatasync", "posix/io/sync/fdatasync"},
      {"read", "posix/io/rw/read"},
      {"pread", "posix/io/rw/pread"},
      {"write", "posix/io/rw/write"},
      {"pwrite", "posix/io/rw/pwrite"},
      {"writev", "posix/io/rw/writev"},
      {"pwritev", "posix/io/rw/pwritev"},
      {"readv", "posix/io/rw/readv"},
      {"preadv", "posix/io/rw/preadv"},
      {"truncate", "posix/io/rw/truncate"},
      {"ftruncate", "posix/io/rw/ftruncate"},
      {"unlink", "posix/io/dir/unlink"},
      {"rename", "posix/io/dir/rename"},
      {"mmap", "posix/mm/mmap"},
      {"msync", "posix/mm/msync"},
      {"sync_file_range", "linux/io/sync_file_range"}};
  for (const auto& [name, point] : kLibfiu) {
    EXPECT_STREQ(row_info(find_row(name).value()).failure_point, point);
  }
  EXPECT_STREQ(row_info(Row::k_write).reduce_point, "posix/io/rw/write/reduce");
}

TEST(SyscallTableTest, ListingNamesEverything) {
  std::string text = syscall_table_text();
  for (Row row : all_rows()) {
    EXPECT_NE(text.find("\n" + std::string(row_info(row).name) + " "), std::string::npos);
    EXPECT_NE(text.find(row_info(row).failure_point), std::string::npos);
  }
  for (const AliasInfo& alias : aliases()) {
    EXPECT_NE(text.find("\n" + std::string(alias.name) + " "), std::string::npos) << alias.name;
  }
  for (const UnreachableInfo& entry : unreachable()) {
    EXPECT_NE(text.find(entry.name), std::string::npos) << entry.name;
  }
}

}  // namespace
}  // namespace crashgate::faultinject
