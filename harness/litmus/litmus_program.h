// Litmus programs: the smallest programs that ask a file system one question about crashes. A
// program is data, so that it can be run, printed, drawn at random and cut down.
//
// A step opens what it needs by path, acts, and closes: what a careless program does. The path "@"
// is the file that the program holds open (create_unnamed, hold).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crashgate::harness {

enum class StepKind : std::uint8_t {
  kCreate,         // path
  kCreateUnnamed,  // path: the directory; holds the file (O_TMPFILE)
  kHold,           // path
  kMakeDirectory,
  kSymlink,  // path2: where it is; path: its target
  kLink,     // path may be "@"
  kRename,
  kExchange,
  kUnlink,
  kRemoveDirectory,
  kWrite,       // length bytes of fill at offset
  kWriteDsync,  // the same through O_DSYNC
  kWriteSync,   // ... through O_SYNC
  kStore,       // ... into a shared mapping, and msync(MS_SYNC) of it; not beyond the file's size
  kTruncate,    // to length bytes
  kEmpty,       // O_TRUNC
  kPunch,
  kPreallocate,  // fallocate; the size grows
  kChangeMode,   // to the mode `length`
  kSetAttribute,
  kFsync,
  kFdatasync,
  kSyncFileSystem,  // path: something on it
  kSyncFileRange,   // of the whole file, all flags
};

struct Step {
  StepKind kind = StepKind::kCreate;
  std::string path;
  std::string path2;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  char fill = 0;
};

/// As a call in namespace steps: `write("t", 0, 4096, 'n')`.
std::string to_string(const Step& step);

namespace steps {
Step create(std::string path);
Step create_unnamed(std::string directory);
Step hold(std::string path);
Step mkdir(std::string path);
Step symlink(std::string target, std::string path);
Step link(std::string from, std::string to);
Step rename(std::string from, std::string to);
Step exchange(std::string one, std::string other);
Step unlink(std::string path);
Step rmdir(std::string path);
Step write(std::string path, std::uint64_t offset, std::uint64_t length, char fill);
Step write_dsync(std::string path, std::uint64_t offset, std::uint64_t length, char fill);
Step write_sync(std::string path, std::uint64_t offset, std::uint64_t length, char fill);
Step store(std::string path, std::uint64_t offset, std::uint64_t length, char fill);
Step truncate(std::string path, std::uint64_t length);
Step empty(std::string path);
Step punch(std::string path, std::uint64_t offset, std::uint64_t length);
Step preallocate(std::string path, std::uint64_t offset, std::uint64_t length);
Step chmod(std::string path, std::uint64_t mode);
Step setxattr(std::string path);
Step fsync(std::string path);
Step fdatasync(std::string path);
Step syncfs(std::string path);
Step sync_file_range(std::string path);
}  // namespace steps

struct LitmusProgram {
  std::string name;
  std::string_view fact;           // the row of the table of facts that it is about
  std::vector<Step> setup;         // durable before the program begins
  std::vector<Step> steps;         // each is acknowledged as it returns
  std::vector<std::string> looks;  // paths whose content is what is asked for
};

/// As a row of litmus_table.cc.
std::string to_string(const LitmusProgram& program);

/// The fact of generated programs.
inline constexpr std::string_view kRandomPrograms = "random programs";

/// The table.
const std::vector<LitmusProgram>& litmus_programs();

/// What goes on beside a program, to bring about what is rare: the kernel writes back seconds
/// later, and a short program's data would stay in memory until then.
struct LitmusHelp {
  std::string_view name;
  std::string_view what;
  bool writes_back = false;  // the step's file goes to the disk after each step, with no barrier
  bool neighbour = false;    // appends to a file of its own and fsyncs it, after each step
  double pause_seconds = 0;  // after each step
  bool commits = false;      // btrfs only: commits its transaction after each step, data left aside
  bool busy_neighbour = false;     // the same as neighbour, in a process of its own, all the time
  bool syncs_file_system = false;  // a process calls syncfs all the time
  double idle_seconds_at_end = 0;  // before the syncfs at the end
  bool is_long = false;            // sleeps: for --long only
};
std::span<const LitmusHelp> litmus_helps();

/// The neighbour's file, in the tree of the program: what is fsynced outside, no model knows of.
inline constexpr char kNeighbourFile[] = "neighbour";

}  // namespace crashgate::harness
