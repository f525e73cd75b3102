#include "faultinject/syscall_table.h"

#include <cerrno>
#include <cstring>

namespace crashgate::faultinject {
namespace {

using enum Role;

template <typename... Roles>
constexpr std::array<Role, kMaxArguments> make_roles(Roles... roles) {
  static_assert(sizeof...(roles) <= kMaxArguments);
  return {roles...};
}

constexpr std::size_t kMaxErrnos = 40;
struct ErrnoList {
  std::array<int, kMaxErrnos> values{};
  std::size_t count = 0;
};
template <typename... Errnos>
constexpr ErrnoList make_errnos(Errnos... errnos) {
  static_assert(sizeof...(errnos) <= kMaxErrnos);
  return {{errnos...}, sizeof...(errnos)};
}

constexpr ErrnoList kErrnos[] = {
#define CRASHGATE_ROW(name, number, result, parameters, arguments, roles, kind, point, errnos) \
  make_errnos errnos,
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW
};

constexpr bool has_transfer(const std::array<Role, kMaxArguments>& roles) {
  for (Role role : roles) {
    if (role == kCount || role == kIovec) return true;
  }
  return false;
}

constexpr std::span<const int> errnos_of(Row row) {
  const ErrnoList& list = kErrnos[static_cast<std::size_t>(row)];
  return {list.values.data(), list.count};
}

constexpr RowInfo kRows[] = {
#define CRASHGATE_ROW(name, number, result, parameters, arguments, roles, kind, point, errnos) \
  {#name,                                                                                      \
   number,                                                                                     \
   #parameters,                                                                                \
   Kind::k##kind,                                                                              \
   make_roles roles,                                                                           \
   point,                                                                                      \
   has_transfer(make_roles roles) ? point "/reduce" : nullptr,                                 \
   errnos_of(Row::k_##name)},
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW
};
static_assert(std::size(kRows) == kRowCount);

// `remove`, `lockf` and `lutimes` are wrapped by hand in interpose.cc.
constexpr AliasInfo kAliases[] = {
#define CRASHGATE_ALIAS(symbol, row, ...) {#symbol, Row::k_##row},
#include "faultinject/syscall_aliases.def"
#undef CRASHGATE_ALIAS
    {"remove", Row::k_unlink},
    {"lockf", Row::k_fcntl},
    {"lockf64", Row::k_fcntl},
    {"lutimes", Row::k_utimensat},
};

constexpr UnreachableInfo kUnreachable[] = {
    {"fopen, fwrite, fflush, fclose, printf, ...", "stdio calls the kernel inside the C library"},
    {"opendir, readdir, closedir, scandir, nftw, glob", "read directories inside the C library"},
    {"mkstemp, mkostemp, mkdtemp, tmpfile", "open inside the C library"},
    {"realpath, euidaccess, eaccess, statvfs, getcwd", "look at names inside the C library"},
    {"posix_spawn file actions", "open, close and dup inside the C library, in the child"},
    {"aio_write, aio_fsync, ...", "POSIX AIO works in threads of the C library"},
    {"io_uring",
     "the kernel reads requests from shared memory; liburing enters it without the C library"},
    {"stores to a shared file mapping", "memory writes are no system calls"},
    {"libaio's io_submit called by number inside it",
     "libaio enters the kernel without the C library"},
    {"direct syscall instructions, the vDSO",
     "no C library function is called (Go programs, some runtimes)"},
    {"statically linked programs", "no dynamic linker, so no preload"},
    {"set-user-ID programs", "the dynamic linker ignores the preload for them"},
    {"dlmopen namespaces, libraries linked with -Bsymbolic", "bind past the preload"},
    {"what the dynamic linker opens and maps itself", "happens before or beneath any preload"},
};

constexpr const char* kKindNames[] = {"open",    "close", "read", "write",     "resize",
                                      "barrier", "hint",  "name", "attribute", "descriptor",
                                      "lock",    "stat",  "map",  "copy",      "async"};
static_assert(std::size(kKindNames) == kKindCount);

constexpr const char* kRoleNames[] = {"-",          "descriptor", "source", "directory", "path",
                                      "directory2", "path2",      "text",   "buffer",    "count",
                                      "iovec",      "iovecs",     "offset", "length",    "size",
                                      "address",    "flags",      "mode",   "command",   "value"};

void pad(std::string& line, std::size_t width) {
  if (line.size() < width) line.append(width - line.size(), ' ');
  line += "  ";
}

std::string roles_text(const RowInfo& row) {
  std::string text;
  for (Role role : row.roles) {
    if (role == kNone) break;
    if (!text.empty()) text += ' ';
    text += kRoleNames[static_cast<std::size_t>(role)];
  }
  return text.empty() ? "-" : text;
}

std::string errnos_text(const RowInfo& row) {
  std::string text;
  for (int value : row.errnos) {
    if (!text.empty()) text += ' ';
    text += strerrorname_np(value);
  }
  return text.empty() ? "-" : text;
}

}  // namespace

const RowInfo& row_info(Row row) {
  return kRows[static_cast<std::size_t>(row)];
}

std::optional<Row> find_row(std::string_view name) {
  for (std::size_t i = 0; i < kRowCount; ++i) {
    if (name == kRows[i].name) return static_cast<Row>(i);
  }
  for (const AliasInfo& alias : kAliases) {
    if (name == alias.name) return alias.row;
  }
  return std::nullopt;
}

std::optional<Row> find_row_by_number(long number) {
  for (std::size_t i = 0; i < kRowCount; ++i) {
    if (kRows[i].number == number) return static_cast<Row>(i);
  }
  return std::nullopt;
}

std::span<const AliasInfo> aliases() {
  return kAliases;
}
std::span<const UnreachableInfo> unreachable() {
  return kUnreachable;
}

const char* kind_name(Kind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

std::optional<Kind> find_kind(std::string_view name) {
  for (std::size_t i = 0; i < kKindCount; ++i) {
    if (name == kKindNames[i]) return static_cast<Kind>(i);
  }
  return std::nullopt;
}

RowSet rows_of_kind(Kind kind) {
  RowSet rows;
  for (std::size_t i = 0; i < kRowCount; ++i) rows[i] = kRows[i].kind == kind;
  return rows;
}

std::size_t find_role(const RowInfo& row, Role role) {
  std::size_t i = 0;
  while (i < kMaxArguments && row.roles[i] != role) ++i;
  return i;
}

bool carries_data(const RowInfo& row) {
  return row.reduce_point != nullptr;
}

std::string syscall_table_text() {
  constexpr std::size_t kName = 18, kNumber = 6, kKind = 10, kPoint = 30, kRoles = 46;
  std::string text;
  auto line = [&](std::string name, const std::string& number, const std::string& kind,
                  const std::string& point, const std::string& roles, const std::string& errnos) {
    pad(name, kName);
    std::size_t end = kName + 2;
    const std::pair<const std::string*, std::size_t> cells[] = {
        {&number, kNumber}, {&kind, kKind}, {&point, kPoint}, {&roles, kRoles}};
    for (const auto& [cell, width] : cells) {
      name += *cell;
      end += width;
      pad(name, end);
      end += 2;
    }
    text += name + errnos + '\n';
  };
  line("CALL", "NUMBER", "KIND", "FAILURE POINT", "ROLES", "ERRNOS");
  for (const RowInfo& row : kRows) {
    line(row.name, std::to_string(row.number), kind_name(row.kind), row.failure_point,
         roles_text(row), errnos_text(row));
  }
  text +=
      "\nA call with a count or iovecs also has the failure point NAME/reduce, which shortens the "
      "transfer.\n";
  text += "\nALIAS               COUNTS AS\n";
  for (const AliasInfo& alias : kAliases) {
    std::string name = alias.name;
    pad(name, kName);
    text += name + row_info(alias.row).name + '\n';
  }
  text += "syscall             the row with that number\n";
  text += "\nOUT OF REACH\n";
  for (const UnreachableInfo& entry : kUnreachable) {
    std::string name = entry.name;
    pad(name, 54);
    text += name + entry.reason + '\n';
  }
  return text;
}

}  // namespace crashgate::faultinject
