// A trace: what the processes and threads of a workload did to one directory tree, in order of
// effect, with the data they wrote, the tree as it was before, and the tree as it was found after.
//
// A recorder resolves descriptors and paths, so whoever reads a trace needs to know nothing of
// descriptor tables, working directories, symlinks or offsets: an event says which file, which
// directory entry, which bytes. Calls that changed nothing and force nothing (a failed open, a
// read, a close, an fcntl) are not in the trace; failed barriers are, since they matter.
//
// Not thread-safe. One process owns a Trace; the recorders have their own ways of collecting one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

/// A file, directory, symlink or other inode of the recorded tree, numbered from 1 in order of
/// appearance. Never reused: an inode number that the file system gives out again is a new FileId.
using FileId = std::uint32_t;
inline constexpr FileId kNoFile = 0;    // none, or outside the tree
inline constexpr FileId kRootFile = 1;  // the recorded directory itself

/// Bytes in Trace::bytes.
struct DataRef {
  std::uint64_t position = 0;
  std::uint64_t length = 0;
};

/// A directory entry: the last component of a path, in the directory that the rest resolved to.
struct NameRef {
  FileId directory = kNoFile;  // kNoFile: outside the tree
  std::string name;
};

enum class EventKind : std::uint8_t {
  kStorage,          // a call of a row of the syscall table that changed the tree, or a barrier
  kAcknowledgement,  // the program told the world something: standard output, or crashgate_ack()
  kUnmodelled,  // something that may have changed the tree and is not understood; text says what
};

/// How much of a write is durable when it returns: O_SYNC and O_DSYNC of the open file, RWF_SYNC
/// and RWF_DSYNC of the call.
enum class WriteSync : std::uint8_t { kNone, kData, kFile };

/// One call. Which fields have a meaning depends on the row's kind:
///  - Open (creations and O_TRUNC only): created, truncated, file, name (none for O_TMPFILE), mode,
///    uid, gid.
///  - Write: file, offset, data, sync.
///  - Async: io_submit, of Linux AIO: one event for each request that writes, as for Write. Its
///    requests to sync are events of fsync and fdatasync, with text "io_submit". Each ends when the
///    program has taken its completion, or never.
///  - Copy (FICLONE too): file, offset, data (what arrived), sync, source.
///  - Resize: truncate, ftruncate: file, length; fallocate: file, flags (its mode), offset, length.
///  - Barrier: fsync, fdatasync: file; syncfs, sync: nothing; msync (MS_SYNC only): file, offset,
///    data (a snapshot of the range as it was when the call returned).
///  - Name: name (and name2 for two paths: the new name), file (what is linked, moved, removed or
///    made), replaced (what name2 named before), flags (renameat2), created, mode, uid, gid, text
///    (a symlink's target). A file that is moved out of the tree has no name2, one that is moved
///    back in no name; a linked O_TMPFILE has no name.
///  - Attribute: file; chmod: mode; chown: uid, gid, mode (all as they are afterwards: a chown may
///    clear set-id bits); setxattr: text, data; removexattr: text. Only attributes of the user
///    namespace; an access control list is recorded as the fchmod that it amounts to. Times are not
///    recorded.
///  - Hint: file, offset, length. Hints change nothing, but a report may name them.
struct TraceEvent {
  EventKind kind = EventKind::kStorage;
  Row row = Row::kCount;  // kStorage; of a kAcknowledgement or kUnmodelled where it was a call
  WriteSync sync = WriteSync::kNone;
  bool created = false;       // the call made `file`
  bool truncated = false;     // an open cut `file` to nothing
  std::uint32_t process = 0;  // numbered from 0 in order of appearance
  std::uint32_t thread = 0;   // likewise, over all processes
  std::uint64_t begin = 0;    // stamps count up over all begins and ends of the trace
  std::uint64_t end = 0;      // 0: had not returned when the recording ended
  std::int64_t result = 0;    // what the call returned, -errno where it failed
  /// The recorded disk's last stamp (block_trace.h) when the call returned, or a little later. 0:
  /// there is no such disk, or the call was cut off before its effect was known.
  std::uint64_t disk_stamp = 0;
  FileId file = kNoFile;
  FileId source = kNoFile;
  FileId replaced = kNoFile;
  NameRef name;
  NameRef name2;
  std::uint64_t flags = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint32_t mode = 0;  // st_mode, type included
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string text;
  DataRef data;
  /// Program counters, innermost first: that of the system call, then of each call that led to it.
  /// Empty: not recorded. Trace::code says what they mean.
  std::vector<std::uint64_t> stack;
};

/// A stretch of a file that is no hole. Sorted, disjoint.
struct Extent {
  std::uint64_t offset = 0;
  DataRef data;
};

/// One inode of a tree.
struct SnapshotFile {
  FileId id = kNoFile;
  std::uint32_t mode = 0;  // st_mode, type included
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;                         // regular files
  std::vector<Extent> extents;                    // regular files: all else up to size is zero
  std::string target;                             // symlinks
  std::map<std::string, std::string> attributes;  // extended attributes of the user namespace
  std::map<std::string, FileId> entries;          // directories
};

/// A whole tree, hard links included: what was there before, or found after. files[0] is the root.
struct Snapshot {
  std::vector<SnapshotFile> files;
};

/// A stretch of a process's code and the file that it came from.
struct CodeMapping {
  std::uint32_t process = 0;
  std::uint64_t since = 0;  // stamp; a later one of the same addresses and process replaces it
  std::uint64_t start = 0;  // addresses
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // of `start` in the file
  std::string path;
};

struct Trace {
  std::string recorder;              // "ptrace", "preload"
  std::string directory;             // absolute path of the recorded tree
  std::vector<std::string> command;  // the workload
  std::string kernel;                // uname -r
  /// What the recorder knows that it cannot see, each a line: empty for a complete recording.
  std::vector<std::string> blind_spots;
  Snapshot initial;
  std::vector<TraceEvent> events;  // in order of effect
  std::vector<CodeMapping> code;   // for stacks; `since` ascends
  Snapshot final;
  std::string bytes;  // all data

  std::string_view data(DataRef ref) const {
    return std::string_view(bytes).substr(ref.position, ref.length);
  }
  DataRef add_data(std::string_view text) {
    const DataRef ref{bytes.size(), text.size()};
    bytes += text;
    return ref;
  }
};

/// Why a trace could not be read, written or recorded; one line. `bad_input`: the fault of whoever
/// named the file or the program (exit status 2), else ours or the machine's (4).
struct TraceError {
  std::string message;
  bool bad_input = false;
};

/// The file format: see trace.cc. Written whole or not at all.
inline constexpr std::uint32_t kTraceVersion = 2;
tl::expected<void, TraceError> write_trace(const Trace& trace, const std::string& path);
/// bad_input for a file that is no trace, is cut short or damaged, or is of another version.
tl::expected<Trace, TraceError> read_trace(const std::string& path);

/// Events for people. What is asked in ascending order costs one walk through the trace in all;
/// going back begins anew.
class EventDescriber {
 public:
  /// `trace` must outlive it, and stay as it is.
  explicit EventDescriber(const Trace& trace);
  ~EventDescriber();

  /// One line: `12  1/2  pwrite64 "d/file" 4096 bytes at 8192 = 4096`. Paths are those at the time
  /// of the event, as far as the trace knows them.
  std::string describe(std::size_t index);
  /// The path, relative to the tree, that an event is about; of two names the new one. Empty: none.
  std::string path(std::size_t index);

 private:
  class Names;
  const Names& names_at(std::size_t index);

  const Trace& trace_;
  std::unique_ptr<Names> names_;
  std::size_t applied_ = 0;  // events that names_ has seen
};

/// Of one event alone.
std::string describe_event(const Trace& trace, std::size_t index);
std::string event_path(const Trace& trace, std::size_t index);

}  // namespace crashgate::faultinject
