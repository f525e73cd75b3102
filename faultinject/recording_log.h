// The log that the processes of one recording write together: raw records, one a call, in memory
// that all of them map.
//
// Records are appended under one lock, and a call that changes the recorded device is made under
// it, so that the order of the records is the order of effect; barriers are not, since they may
// take long and change nothing: their stamps tell what they overlapped. The lock is a robust futex:
// a process that dies with it, by SIGKILL too, lets go of it, and what it had begun is marked so.
// Signals are held back while it is held, so no handler can wait for its own thread. A process that
// is stopped (SIGSTOP cannot be held back) while it holds the lock holds up all others; after two
// seconds they go on without being recorded, and the log says so.
//
// Everything here is async-signal-safe, allocates nothing and makes raw system calls only, except
// where MappedLog says otherwise. It works in threads, and in children of fork and vfork.
#pragma once

#include <linux/futex.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

#include "faultinject/syscall_table.h"
#include "faultinject/trace.h"

namespace crashgate::faultinject {

inline constexpr std::uint32_t kLogMagic = 0x4347474c;  // "CGGL"
inline constexpr std::uint32_t kLogVersion = 4;
inline constexpr std::size_t kMaxLoggedProcesses = 4096;
inline constexpr std::size_t kMaxLoggedThreads = 16384;

enum class RecordState : std::uint8_t {
  kBegun,  // whoever made the call died in it: what it did is not known
  kCut,    // died right after what the record says, before the call returned to the program
  kReturned,
};

/// One call, as its process saw it. Inodes are numbers on the recorded device; 0: none, or on
/// another one. Followed by name, name2, text and data, then padding to 8 bytes.
struct RawRecord {
  std::uint64_t size;  // all in all, a multiple of 8
  RecordState state;
  EventKind kind;
  Row row;
  WriteSync sync;
  bool created;
  bool truncated;
  std::uint32_t process;
  std::uint32_t thread;
  std::uint32_t mode;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint64_t begin;
  std::uint64_t end;
  std::int64_t result;
  std::uint64_t disk_stamp;  // see TraceEvent
  std::uint64_t file;
  std::uint64_t source;
  std::uint64_t replaced;
  std::uint64_t directory;
  std::uint64_t directory2;
  std::uint64_t flags;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint16_t name_size;
  std::uint16_t name2_size;
  std::uint32_t text_size;
  std::uint64_t data_size;
};

/// What a process runs. Only a program with the shim in it is recorded.
enum class ProcessImage : std::uint32_t {
  kAttached,   // has the shim
  kExecuting,  // was about to run another program, which has not attached since
};

struct LoggedProcess {
  std::uint32_t id;  // process id where /proc was mounted
  ProcessImage image;
  std::array<char, 120> program;  // of a kExecuting one: NUL-terminated, its end where it is long
};

/// What is called in a recorded process after each call that left a record. Async-signal-safe, and
/// by raw system calls: nothing that it does is to be recorded. For processes that take turns.
struct AfterRecord {
  void (*call)(const void* argument) = nullptr;
  const void* argument = nullptr;
};

/// The header; records follow at kRecordsOffset. Zeroed memory with magic, version and capacity set
/// is an empty log. Version changes whenever a layout here does.
struct RecordingLog {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t capacity;           // bytes of the mapping
  std::atomic<std::uint32_t> lock;  // owner's thread id, as the kernel's robust futexes have it
  std::atomic<std::uint32_t> full;  // 1: a record was left out, since it did not fit or because of:
  std::atomic<std::uint32_t> abandoned;  // 1: the lock's owner was stopped, and who waited gave up
  std::uint32_t generation;          // resets so far: what threads remember of themselves is void
  std::atomic<std::uint64_t> stamp;  // the last one given
  /// Of the recorded disk, or null. At one address in all processes that record: they are forked
  /// from one that had it mapped.
  const std::atomic<std::uint64_t>* disk_stamp;
  AfterRecord after_record;     // likewise
  std::uint64_t used;           // bytes of records; changed under the lock
  std::uint64_t last;           // where the last record begins; `used`: it was dropped
  std::uint64_t populated;      // bytes of records that have memory behind them
  std::uint64_t device;         // st_dev of the recorded directory
  std::uint64_t output_device;  // of what counts as standard output; 0: nothing does
  std::uint64_t output_inode;
  std::uint32_t process_count;
  std::uint32_t thread_count;
  std::array<LoggedProcess, kMaxLoggedProcesses> processes;
  std::array<std::uint32_t, kMaxLoggedThreads> threads;  // thread ids, as LoggedProcess::id
};
inline constexpr std::uint64_t kRecordsOffset = (sizeof(RecordingLog) + 4095) / 4096 * 4096;

/// Holds the lock of a log; in a log that was abandoned perhaps not, and then nothing is noted.
class LogLock {
 public:
  explicit LogLock(RecordingLog& log);
  LogLock(const LogLock&) = delete;
  LogLock& operator=(const LogLock&) = delete;
  ~LogLock();

  std::uint64_t next_stamp() { return log_.stamp.fetch_add(1, std::memory_order_relaxed) + 1; }
  /// The recorded disk's last one; 0: there is no such disk.
  std::uint64_t disk_stamp() const {
    return log_.disk_stamp == nullptr ? 0 : log_.disk_stamp->load(std::memory_order_acquire);
  }
  /// Numbers of the calling process and thread, in order of appearance.
  std::uint32_t process();
  std::uint32_t thread();

  /// The calling process's program has the shim.
  void note_attached();
  /// The process `id` (0: the calling one) is about to run, or runs, the program; a process that
  /// has attached meanwhile stays attached, unless it is the calling one.
  void note_executing(std::uint32_t id, std::string_view program);

  /// A record with these behind it; null: the log is full. State kBegun, all else zero but process,
  /// thread and begin.
  RawRecord* append(std::string_view name = {}, std::string_view name2 = {},
                    std::string_view text = {});
  /// Room for `bytes` of data behind the last record's names and text; null: the log is full.
  char* add_data(RawRecord& record, std::uint64_t bytes);
  /// Takes the last record back.
  void drop(const RawRecord& record);

 private:
  void know_myself();
  bool acquire();
  bool reserve(std::uint64_t bytes);
  void take_in_last_record();

  RecordingLog& log_;
  bool held_ = false;
  std::uint64_t signal_mask_;
  std::uint32_t thread_id_;
  robust_list_head* robust_;
  robust_list* pending_;
  robust_list_head own_;  // where the thread has none
};

inline std::string_view name_of(const RawRecord& record) {
  return {reinterpret_cast<const char*>(&record + 1), record.name_size};
}
inline std::string_view name2_of(const RawRecord& record) {
  return {name_of(record).end(), record.name2_size};
}
inline std::string_view text_of(const RawRecord& record) {
  return {name2_of(record).end(), record.text_size};
}
inline std::string_view data_of(const RawRecord& record) {
  return {text_of(record).end(), record.data_size};
}

/// The first record, or the one after `previous`; null at the end. No process may be recording.
const RawRecord* next_record(const RecordingLog& log, const RawRecord* previous = nullptr);

/// Owner of a mapped log, unmapped at the end of its life. Memory is taken as records come, up to
/// `capacity` bytes. Errors are errno values. Move-only. Not async-signal-safe.
class MappedLog {
 public:
  /// An empty log, shared with children forked later.
  static tl::expected<MappedLog, int> anonymous(std::uint64_t capacity);
  /// An empty log in a new file (mode 0600), which must not exist.
  static tl::expected<MappedLog, int> create(const std::string& path, std::uint64_t capacity);
  /// The log in a file that `create` made. EINVAL: the file holds no log of this version.
  static tl::expected<MappedLog, int> attach(const char* path);

  MappedLog(MappedLog&& other) noexcept : log_(std::exchange(other.log_, nullptr)) {}
  MappedLog& operator=(MappedLog&& other) noexcept {
    std::swap(log_, other.log_);
    return *this;
  }
  ~MappedLog();

  /// Forgets all records. No process may be recording.
  void reset();
  RecordingLog& operator*() const { return *log_; }
  RecordingLog* operator->() const { return log_; }
  RecordingLog* get() const { return log_; }
  /// Gives the mapping up without unmapping it.
  RecordingLog* release() { return std::exchange(log_, nullptr); }

 private:
  explicit MappedLog(RecordingLog* log) : log_(log) {}
  static tl::expected<MappedLog, int> map(int fd, std::uint64_t capacity);

  RecordingLog* log_;
};

}  // namespace crashgate::faultinject
