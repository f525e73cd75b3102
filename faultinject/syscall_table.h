// The storage syscalls, one row a call. Everything that needs to know them comes from
// syscall_table.def: the wrappers of the shim, the libfiu failure points, the rules, `crashgate
// shim --list`, the recorders, and the tests.
//
// All data here is constant and initialized at compile time: any thread, any signal handler, any
// moment.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace crashgate::faultinject {

enum class Row : std::uint16_t {
#define CRASHGATE_ROW(name, ...) k_##name,
#include "faultinject/syscall_table.def"
#undef CRASHGATE_ROW
  kCount
};
inline constexpr std::size_t kRowCount = static_cast<std::size_t>(Row::kCount);
using RowSet = std::bitset<kRowCount>;

enum class Kind : std::uint8_t {
  kOpen,
  kClose,
  kRead,
  kWrite,
  kResize,      // size and allocation
  kBarrier,     // forces data or names to persist
  kHint,        // looks like a barrier or a read and is none
  kName,        // makes, removes or changes a directory entry
  kAttribute,   // mode, owner, times, extended attributes
  kDescriptor,  // changes descriptors, offsets or the working directory, nothing on disk
  kLock,
  kStat,  // looks at names and attributes
  kMap,
  kCopy,   // moves data within the kernel
  kAsync,  // hands work to the kernel that happens later
};
inline constexpr std::size_t kKindCount = 15;

/// What one argument of a system call is.
enum class Role : std::uint8_t {
  kNone,
  kDescriptor,  // what the call is about; of two, the one written to
  kSource,      // descriptor that is read from
  kDirectory,   // directory descriptor (or AT_FDCWD) of the path that follows
  kPath,
  kDirectory2,
  kPath2,   // a second path: the new name
  kText,    // a string that names no file: an attribute's name, a symlink's target
  kBuffer,  // user memory, read or written
  kCount,   // bytes to transfer: the call may transfer less
  kIovec,
  kIovecCount,
  kOffset,
  kLength,   // bytes of a range or a file
  kSize,     // bytes of a buffer or structure, to be taken as a whole
  kAddress,  // of a mapping
  kFlags,
  kMode,
  kCommand,  // decides what the call does: fcntl, ioctl, flock
  kValue,    // anything else
};
inline constexpr std::size_t kMaxArguments = 6;

struct RowInfo {
  const char* name;       // the kernel's: "pwrite64"
  long number;            // system call number, x86-64
  const char* prototype;  // parameters as the C library has them
  Kind kind;
  std::array<Role, kMaxArguments> roles;
  const char* failure_point;  // libfiu's name for it
  const char* reduce_point;  // ... for a shortened transfer; null for a call that transfers nothing
  /// The likeliest first; empty only where the call cannot report an error.
  std::span<const int> errnos;
};

/// Another function of the C library that counts as `row`.
struct AliasInfo {
  const char* name;
  Row row;
};

/// A way to storage that no preloaded or linked-in wrapper sees.
struct UnreachableInfo {
  const char* name;
  const char* reason;
};

const RowInfo& row_info(Row row);
/// By the kernel's name, or that of an alias.
std::optional<Row> find_row(std::string_view name);
std::optional<Row> find_row_by_number(long number);
std::span<const AliasInfo> aliases();
std::span<const UnreachableInfo> unreachable();

/// "write" for Kind::kWrite.
const char* kind_name(Kind kind);
std::optional<Kind> find_kind(std::string_view name);
RowSet rows_of_kind(Kind kind);

/// Position of the first argument with that role, or kMaxArguments.
std::size_t find_role(const RowInfo& row, Role role);
/// Whether the call moves bytes between the program and a file, or between files, and may move
/// fewer than asked.
bool carries_data(const RowInfo& row);

/// The whole table for people: one aligned table, then the aliases, then what cannot be reached.
std::string syscall_table_text();

}  // namespace crashgate::faultinject
