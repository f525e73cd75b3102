// Nothing is remembered from call to call: descriptors and paths are looked up each time, so what
// the program does behind the wrappers' back (a descriptor that stdio closed, a working directory
// that vfork's child changed) cannot mislead. Which files belong to the recorded tree is not known
// here either: all of the tree's device are recorded, by inode, and the reader knows the tree.
//
// A record is begun before its call and completed after, so that a death in between leaves a trace.
// The program's memory is read only after the kernel has read it without a fault.
#include "faultinject/call_logger.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include "faultinject/crashgate_ack.h"
#include "faultinject/path_lookup.h"
#include "faultinject/shared_mappings.h"

namespace crashgate::faultinject {
namespace {

constexpr unsigned kRenameExchange = 2;  // linux/fs.h's names clash with stdio.h's
constexpr unsigned kRenameWhiteout = 4;
constexpr int kWriteNoAppend = 0x20;  // RWF_NOAPPEND, Linux 6.9

// -- Looking ------------------------------------------------------------------------------------

/// 0: on another device.
std::uint64_t inode_on_device(const RecordingLog& log, const struct stat& status) {
  return status.st_dev == log.device ? status.st_ino : 0;
}

bool is_recorded_file(const RecordingLog& log, const struct stat& status) {
  return status.st_dev == log.device && S_ISREG(status.st_mode);
}

bool is_output(const RecordingLog& log, const struct stat& status) {
  return status.st_dev == log.output_device && status.st_ino == log.output_inode;
}

WriteSync sync_of(long open_flags) {
  if ((open_flags & O_SYNC) == O_SYNC) return WriteSync::kFile;
  return (open_flags & O_DSYNC) != 0 ? WriteSync::kData : WriteSync::kNone;
}

// -- Writing down -------------------------------------------------------------------------------

void describe(RawRecord& record, Row row, EventKind kind = EventKind::kStorage) {
  record.kind = kind;
  record.row = row;
}

void set_attributes(RawRecord& record, const struct stat& status) {
  record.mode = status.st_mode;
  record.uid = status.st_uid;
  record.gid = status.st_gid;
}

void finish(LogLock& lock, RawRecord& record, const Outcome& outcome) {
  record.result = outcome.result;
  record.state = outcome.fatal ? RecordState::kCut : RecordState::kReturned;
  record.end = outcome.fatal ? 0 : lock.next_stamp();
  record.disk_stamp = lock.disk_stamp();
}

/// The first `size` bytes that a call of the write family took.
void copy_written(const RowInfo& row, const Arguments& arguments, char* out, std::uint64_t size) {
  const std::size_t position = find_role(row, Role::kIovec);
  if (position == kMaxArguments) {
    std::memcpy(out, reinterpret_cast<const void*>(arguments[1]), size);
    return;
  }
  auto segment = reinterpret_cast<const iovec*>(arguments[position]);
  for (; size > 0; ++segment) {
    const std::uint64_t part = std::min<std::uint64_t>(size, segment->iov_len);
    std::memcpy(out, segment->iov_base, part);
    out += part;
    size -= part;
  }
}

void add_written(LogLock& lock, RawRecord& record, const RowInfo& row, const Arguments& arguments,
                 std::uint64_t size) {
  if (char* out = lock.add_data(record, size)) copy_written(row, arguments, out, size);
}

/// Bytes of a file as they are now, however it is open. False: they cannot be read.
bool add_from_file(LogLock& lock, RawRecord& record, long fd, std::uint64_t offset,
                   std::uint64_t size) {
  char* out = lock.add_data(record, size);
  if (out == nullptr) return true;  // the log is full, which is said elsewhere
  char link[kDescriptorLinkSize];
  write_descriptor_link(link, fd);
  const long readable = raw_syscall(SYS_open, {as_argument(link), O_RDONLY | O_CLOEXEC});
  std::uint64_t done = 0;
  while (done < size) {
    const long got = raw_syscall(
        SYS_pread64, {is_error(readable) ? fd : readable, as_argument(out + done),
                      static_cast<long>(size - done), static_cast<long>(offset + done)});
    if (got <= 0) break;
    done += static_cast<std::uint64_t>(got);
  }
  if (!is_error(readable)) raw_syscall(SYS_close, {readable});
  return done == size;
}

void append_unmodelled(RecordingLog& log, Row row, const Outcome& outcome, std::uint64_t file,
                       std::string_view text) {
  LogLock lock(log);
  RawRecord* record = lock.append({}, {}, text);
  if (record == nullptr) return;
  describe(*record, row, EventKind::kUnmodelled);
  record->file = file;
  finish(lock, *record, outcome);
}

// -- One function a kind of call ----------------------------------------------------------------

Outcome record_acknowledgement(RecordingLog& log, Row row, const RowInfo& info,
                               const Arguments& arguments, Performance perform) {
  const std::uint64_t begin = log.stamp.fetch_add(1) + 1;
  Outcome outcome = perform();  // a pipe may wait for its reader
  const bool explicitly = static_cast<int>(arguments[0]) == CRASHGATE_ACK_DESCRIPTOR;
  if (explicitly && outcome.result == -EBADF) outcome.result = arguments[2];
  if (outcome.result <= 0) return outcome;
  LogLock lock(log);
  RawRecord* record = lock.append();
  if (record == nullptr) return outcome;
  describe(*record, explicitly ? Row::kCount : row, EventKind::kAcknowledgement);
  record->begin = begin;
  if (info.kind == Kind::kWrite) {
    add_written(lock, *record, info, arguments, static_cast<std::uint64_t>(outcome.result));
  } else {
    record->length = static_cast<std::uint64_t>(outcome.result);  // the reader of the output knows
  }
  // The world has been told, even where the program dies before it knows.
  finish(lock, *record, {outcome.result, false});
  return outcome;
}

Outcome record_write(RecordingLog& log, Row row, const RowInfo& info, const Arguments& arguments,
                     Performance perform) {
  const long fd = static_cast<int>(arguments[0]);
  if (fd == CRASHGATE_ACK_DESCRIPTOR && row == Row::k_write) {
    return record_acknowledgement(log, row, info, arguments, perform);
  }
  struct stat status;
  if (!stat_descriptor(fd, status)) return perform();
  if (!is_recorded_file(log, status)) {
    return is_output(log, status) ? record_acknowledgement(log, row, info, arguments, perform)
                                  : perform();
  }
  const long open_flags = raw_syscall(SYS_fcntl, {fd, F_GETFL});
  const int flags = row == Row::k_pwritev2 ? static_cast<int>(arguments[5]) : 0;
  const bool appends = (((open_flags & O_APPEND) != 0) && (flags & kWriteNoAppend) == 0) ||
                       (flags & RWF_APPEND) != 0;
  const bool at_position =
      row == Row::k_write || row == Row::k_writev || (row == Row::k_pwritev2 && arguments[3] == -1);

  LogLock lock(log);
  if (appends) stat_descriptor(fd, status);
  RawRecord* record = lock.append();
  if (record == nullptr) return perform();
  describe(*record, row);
  record->file = status.st_ino;
  record->sync = (flags & RWF_SYNC) != 0    ? WriteSync::kFile
                 : (flags & RWF_DSYNC) != 0 ? std::max(sync_of(open_flags), WriteSync::kData)
                                            : sync_of(open_flags);
  if (appends) {
    record->offset = static_cast<std::uint64_t>(status.st_size);
  } else if (at_position) {
    record->offset = static_cast<std::uint64_t>(raw_syscall(SYS_lseek, {fd, 0, SEEK_CUR}));
  } else {
    record->offset = static_cast<std::uint64_t>(arguments[3]);
  }
  if (find_role(info, Role::kCount) < kMaxArguments) {
    record->length = static_cast<std::uint64_t>(arguments[2]);  // in case this is the last we know
  }
  const Outcome outcome = perform();
  record->length = 0;
  const bool failed_barrier = is_error(outcome.result) && record->sync != WriteSync::kNone;
  if (outcome.result <= 0 && !failed_barrier) {
    lock.drop(*record);
    return outcome;
  }
  if (outcome.result > 0) {
    add_written(lock, *record, info, arguments, static_cast<std::uint64_t>(outcome.result));
  }
  finish(lock, *record, outcome);
  return outcome;
}

/// What a call of kind Copy is about.
struct CopyArguments {
  long to = -1;
  long from = -1;
  bool clone = false;  // FICLONE and FICLONERANGE
};

CopyArguments copy_arguments(Row row, const RowInfo& info, const Arguments& arguments) {
  CopyArguments result;
  result.to = static_cast<int>(arguments[find_role(info, Role::kDescriptor)]);
  if (row != Row::k_ioctl) {
    result.from = static_cast<int>(arguments[find_role(info, Role::kSource)]);
    return result;
  }
  const auto command = static_cast<unsigned long>(static_cast<unsigned>(arguments[1]));
  result.clone = command == FICLONE || command == FICLONERANGE;
  if (command == FICLONE) result.from = static_cast<int>(arguments[2]);
  if (command == FICLONERANGE && is_readable(reinterpret_cast<const void*>(arguments[2]))) {
    result.from = static_cast<int>(reinterpret_cast<const file_clone_range*>(arguments[2])->src_fd);
  }
  return result;
}

/// Where the copied bytes are now; after the call, which has read the program's memory.
void copied_range(Row row, const Arguments& arguments, const CopyArguments& copy, long result,
                  const struct stat& source, std::uint64_t& offset, std::uint64_t& size) {
  size = static_cast<std::uint64_t>(result);
  if (copy.clone) {
    offset = 0;
    size = static_cast<std::uint64_t>(source.st_size);
    if (static_cast<unsigned>(arguments[1]) == FICLONERANGE) {
      const auto& range = *reinterpret_cast<const file_clone_range*>(arguments[2]);
      offset = range.dest_offset;
      size = range.src_length != 0 ? range.src_length : size - range.src_offset;
    }
    return;
  }
  auto position = row == Row::k_sendfile ? nullptr : reinterpret_cast<const off_t*>(arguments[3]);
  const off_t after = position != nullptr
                          ? *position
                          : static_cast<off_t>(raw_syscall(SYS_lseek, {copy.to, 0, SEEK_CUR}));
  offset = static_cast<std::uint64_t>(after - result);
}

/// A splice whose pipe is empty waits for its writer: not with the lock held.
bool waits_for_pipe(long pipe, const Arguments& splice) {
  return (splice[5] & SPLICE_F_NONBLOCK) == 0 &&
         (raw_syscall(SYS_fcntl, {pipe, F_GETFL}) & O_NONBLOCK) == 0;
}

Outcome record_copy(RecordingLog& log, Row row, const RowInfo& info, const Arguments& arguments,
                    Performance perform) {
  const CopyArguments copy = copy_arguments(row, info, arguments);
  struct stat status;
  struct stat source {};
  if ((row == Row::k_ioctl && !copy.clone) || !stat_descriptor(copy.to, status)) return perform();
  if (is_output(log, status)) return record_acknowledgement(log, row, info, arguments, perform);
  if (!is_recorded_file(log, status)) return perform();
  stat_descriptor(copy.from, source);
  if (S_ISFIFO(source.st_mode) && row == Row::k_splice && waits_for_pipe(copy.from, arguments)) {
    pollfd ready = {static_cast<int>(copy.from), POLLIN, 0};
    raw_syscall(SYS_poll, {as_argument(&ready), 1, -1});
  }
  LogLock lock(log);
  RawRecord* record = lock.append();
  if (record == nullptr) return perform();
  describe(*record, row);
  record->file = status.st_ino;
  record->source = inode_on_device(log, source);
  record->sync = sync_of(raw_syscall(SYS_fcntl, {copy.to, F_GETFL}));
  const Outcome outcome = perform();
  if (outcome.result < (copy.clone ? 0 : 1)) {
    lock.drop(*record);
    return outcome;
  }
  std::uint64_t size = 0;
  copied_range(row, arguments, copy, outcome.result, source, record->offset, size);
  if (!add_from_file(lock, *record, copy.to, record->offset, size)) {
    describe(*record, row, EventKind::kUnmodelled);
  }
  finish(lock, *record, outcome);
  return outcome;
}

struct OpenArguments {
  PathArgument where;
  long flags = 0;
};

OpenArguments open_arguments(Row row, const RowInfo& info, const Arguments& arguments) {
  OpenArguments result;
  result.where = path_argument(info, arguments, Role::kPath);
  if (row == Row::k_creat) {
    result.flags = O_CREAT | O_WRONLY | O_TRUNC;
  } else if (row == Row::k_openat2) {
    auto how = reinterpret_cast<const open_how*>(arguments[2]);
    if (!is_readable(how)) return result;
    result.flags = static_cast<long>(how->flags);
    if ((how->resolve & RESOLVE_IN_ROOT) != 0 && is_readable(result.where.path)) {
      while (*result.where.path == '/') ++result.where.path;
    }
  } else {
    result.flags = arguments[find_role(info, Role::kFlags)];
  }
  return result;
}

/// The path under which a file was opened goes into the record of its opening for writing, so that
/// it can be said what is written outside the tree.
void add_path(LogLock& lock, RawRecord& record, long fd) {
  char link[kDescriptorLinkSize];
  write_descriptor_link(link, fd);
  char path[PATH_MAX];
  const long size = raw_syscall(SYS_readlink, {as_argument(link), as_argument(path), sizeof path});
  if (is_error(size)) return;
  if (char* out = lock.add_data(record, static_cast<std::uint64_t>(size)))
    std::memcpy(out, path, static_cast<std::size_t>(size));
}

/// An opening that changes nothing by itself.
Outcome record_plain_open(RecordingLog& log, Row row, long flags, Performance perform) {
  const Outcome outcome = perform();
  struct stat status;
  if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0 || is_error(outcome.result) ||
      !stat_descriptor(outcome.result, status) || !S_ISREG(status.st_mode)) {
    return outcome;
  }
  LogLock lock(log);
  RawRecord* record = lock.append();
  if (record == nullptr) return outcome;
  describe(*record, row);
  record->file = inode_on_device(log, status);
  add_path(lock, *record, outcome.result);
  finish(lock, *record, outcome);
  return outcome;
}

Outcome record_open(RecordingLog& log, Row row, const RowInfo& info, const Arguments& arguments,
                    Performance perform) {
  if (row == Row::k_open_by_handle_at) return perform();
  const auto [where, flags] = open_arguments(row, info, arguments);
  const bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
  if ((flags & (O_CREAT | O_TRUNC)) == 0 && !nameless) {
    return record_plain_open(log, row, flags, perform);
  }
  const bool follow =
      (flags & O_NOFOLLOW) == 0 && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
  {
    // Held over the opening of a regular file that is there, too: it might be gone by then.
    LogLock lock(log);
    Place place;
    bool recorded = locate(log.device, where, follow, place);
    if (recorded && nameless) {
      recorded = place.exists;
      place.directory = inode_on_device(log, place.status);
      place.name_size = 0;
    } else if (recorded && place.exists) {
      recorded = is_recorded_file(log, place.status);
    }
    RawRecord* record = nullptr;
    if (recorded && (place.exists || place.directory != 0)) {
      record = lock.append(place.name_view());
    }
    if (record != nullptr) {
      describe(*record, row);
      record->directory = place.directory;
      record->created = nameless || !place.exists;
      record->truncated = !record->created && (flags & O_TRUNC) != 0 && place.status.st_size > 0;
      record->flags = static_cast<std::uint64_t>(flags);
      if (!record->created) record->file = place.status.st_ino;
      const bool writes = (flags & O_ACCMODE) != O_RDONLY;
      const Outcome outcome = perform();
      struct stat status;
      if (is_error(outcome.result) || !stat_descriptor(outcome.result, status) ||
          !(record->created || record->truncated || writes)) {
        lock.drop(*record);
        return outcome;
      }
      record->file = status.st_ino;
      if (record->created) set_attributes(*record, status);
      if (writes) add_path(lock, *record, outcome.result);
      finish(lock, *record, outcome);
      return outcome;
    }
  }
  return record_plain_open(log, row, flags, perform);
}

Outcome record_resize(RecordingLog& log, Row row, const Arguments& arguments, Performance perform) {
  struct stat status;
  LogLock lock(log);
  const bool known =
      row == Row::k_truncate
          ? !is_error(stat_path(AT_FDCWD, reinterpret_cast<const char*>(arguments[0]), 0, status))
          : stat_descriptor(static_cast<int>(arguments[0]), status);
  RawRecord* record = known && is_recorded_file(log, status) ? lock.append() : nullptr;
  if (record == nullptr) return perform();
  describe(*record, row);
  record->file = status.st_ino;
  if (row == Row::k_fallocate) {
    record->flags = static_cast<unsigned>(arguments[1]);
    record->offset = static_cast<std::uint64_t>(arguments[2]);
    record->length = static_cast<std::uint64_t>(arguments[3]);
  } else {
    record->length = static_cast<std::uint64_t>(arguments[1]);
  }
  const Outcome outcome = perform();
  if (is_error(outcome.result)) {
    lock.drop(*record);
  } else {
    finish(lock, *record, outcome);
  }
  return outcome;
}

/// Whether a hint may set off writing.
bool may_write(Row row, const Arguments& arguments) {
  return row == Row::k_sync_file_range ||
         (row == Row::k_fadvise64 && arguments[3] == POSIX_FADV_DONTNEED);
}

Outcome record_barrier(RecordingLog& log, Row row, const RowInfo& info, const Arguments& arguments,
                       Performance perform) {
  if (info.kind == Kind::kHint && !may_write(row, arguments)) return perform();
  struct stat status {};
  const std::size_t position = find_role(info, Role::kDescriptor);
  if (position < kMaxArguments) {
    if (!stat_descriptor(static_cast<int>(arguments[position]), status) ||
        status.st_dev != log.device) {
      return perform();
    }
  }
  const std::uint64_t begin = log.stamp.fetch_add(1) + 1;
  const Outcome outcome = perform();
  LogLock lock(log);
  RawRecord* record = lock.append();
  if (record == nullptr) return outcome;
  describe(*record, row);
  record->begin = begin;
  record->file = row == Row::k_syncfs ? 0 : status.st_ino;
  if (info.kind == Kind::kHint) {
    record->offset = static_cast<std::uint64_t>(arguments[1]);
    record->length = static_cast<std::uint64_t>(arguments[2]);
    record->flags = static_cast<std::uint64_t>(arguments[3]);
  }
  finish(lock, *record, outcome);
  return outcome;
}

/// One record for each file that the range touches. They all begin before the call, each with a
/// stamp of its own.
Outcome record_memory_sync(RecordingLog& log, Row row, const Arguments& arguments,
                           Performance perform) {
  constexpr std::uint64_t kMaxFiles = 16;
  if ((arguments[2] & MS_SYNC) == 0) return perform();
  std::uint64_t begin = log.stamp.fetch_add(kMaxFiles) + 1;
  const std::uint64_t last_begin = begin + kMaxFiles - 1;
  const Outcome outcome = perform();
  constexpr std::uint64_t kPage = 4096;
  const auto address = static_cast<std::uint64_t>(arguments[0]);
  const auto length = (static_cast<std::uint64_t>(arguments[1]) + kPage - 1) / kPage * kPage;
  SharedMappings mappings(address, length);
  for (SharedMapping mapping; begin <= last_begin && mappings.next(mapping);) {
    const long fd = raw_syscall(
        SYS_open, {as_argument(mapping.path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK});
    struct stat status;
    if (is_error(fd)) continue;
    if (stat_descriptor(fd, status) && is_recorded_file(log, status) &&
        status.st_ino == mapping.inode) {
      const std::uint64_t start = std::max(address, mapping.start);
      const std::uint64_t end = std::min(address + length, mapping.end);
      const std::uint64_t offset = mapping.offset + (start - mapping.start);
      const auto size = static_cast<std::uint64_t>(status.st_size);
      LogLock lock(log);
      if (RawRecord* record = lock.append()) {
        describe(*record, row);
        record->begin = begin++;
        record->file = status.st_ino;
        record->offset = offset;
        const std::uint64_t last = std::min(size, offset + (end - start));
        if (last > offset) add_from_file(lock, *record, fd, offset, last - offset);
        finish(lock, *record, outcome);
      }
    }
    raw_syscall(SYS_close, {fd});
  }
  return outcome;
}

Outcome record_making(RecordingLog& log, LogLock& lock, Row row, const RowInfo& info,
                      const Arguments& arguments, Performance perform) {
  const PathArgument where = path_argument(info, arguments, Role::kPath);
  std::string_view target;
  if (const std::size_t position = find_role(info, Role::kText); position < kMaxArguments) {
    auto text = reinterpret_cast<const char*>(arguments[position]);
    if (!is_readable(text)) return perform();
    target = {text, strnlen(text, PATH_MAX)};
  }
  Place place;
  if (!locate(log.device, where, false, place) || place.exists || place.directory == 0)
    return perform();
  RawRecord* record = lock.append(place.name_view(), {}, target);
  if (record == nullptr) return perform();
  describe(*record, row);
  record->directory = place.directory;
  record->created = true;
  const Outcome outcome = perform();
  struct stat status;
  if (is_error(outcome.result) ||
      is_error(stat_path(where.directory, where.path, AT_SYMLINK_NOFOLLOW, status))) {
    lock.drop(*record);
    return outcome;
  }
  record->file = status.st_ino;
  set_attributes(*record, status);
  finish(lock, *record, outcome);
  return outcome;
}

Outcome record_removal(RecordingLog& log, LogLock& lock, Row row, const RowInfo& info,
                       const Arguments& arguments, Performance perform) {
  Place place;
  if (!locate(log.device, path_argument(info, arguments, Role::kPath), false, place) ||
      !place.exists || place.directory == 0) {
    return perform();
  }
  RawRecord* record = lock.append(place.name_view());
  if (record == nullptr) return perform();
  describe(*record, row);
  record->directory = place.directory;
  record->file = inode_on_device(log, place.status);
  record->mode = place.status.st_mode;
  const Outcome outcome = perform();
  if (is_error(outcome.result)) {
    lock.drop(*record);
  } else {
    finish(lock, *record, outcome);
  }
  return outcome;
}

/// link and rename: the calls with two names.
Outcome record_two_names(RecordingLog& log, LogLock& lock, Row row, const RowInfo& info,
                         const Arguments& arguments, Performance perform) {
  const bool links = row == Row::k_link || row == Row::k_linkat;
  unsigned flags = 0;
  if (row == Row::k_linkat || row == Row::k_renameat2) flags = static_cast<unsigned>(arguments[4]);
  const PathArgument from = path_argument(info, arguments, Role::kPath);
  const PathArgument to = path_argument(info, arguments, Role::kPath2);
  Place old_place;
  Place new_place;
  const bool by_descriptor =
      links && (flags & AT_EMPTY_PATH) != 0 && is_readable(from.path) && *from.path == '\0';
  if (by_descriptor) {
    old_place.exists = stat_descriptor(from.directory, old_place.status);
  } else if (!locate(log.device, from, links && (flags & AT_SYMLINK_FOLLOW) != 0, old_place)) {
    return perform();
  }
  if (!locate(log.device, to, false, new_place)) return perform();
  if (old_place.directory == 0 && new_place.directory == 0) return perform();
  RawRecord* record = lock.append(old_place.name_view(), new_place.name_view());
  if (record == nullptr) return perform();
  describe(*record, row,
           (flags & kRenameWhiteout) != 0 && !links ? EventKind::kUnmodelled : EventKind::kStorage);
  record->directory = old_place.directory;
  record->directory2 = new_place.directory;
  if (!links) record->flags = flags;
  if (old_place.exists) {
    record->file = inode_on_device(log, old_place.status);
    record->mode = old_place.status.st_mode;
  }
  if (new_place.exists) record->replaced = inode_on_device(log, new_place.status);
  const Outcome outcome = perform();
  // Renaming one name of a file to another of the same file does nothing: rename(2).
  const bool idle_rename =
      !links && (flags & kRenameExchange) == 0 && record->file == record->replaced;
  if (is_error(outcome.result) || idle_rename) {
    lock.drop(*record);
    return outcome;
  }
  struct stat status;
  if (links && !is_error(stat_path(to.directory, to.path, AT_SYMLINK_NOFOLLOW, status))) {
    record->file = status.st_ino;  // also through a link of /proc
  }
  finish(lock, *record, outcome);
  return outcome;
}

Outcome record_name(RecordingLog& log, Row row, const RowInfo& info, const Arguments& arguments,
                    Performance perform) {
  LogLock lock(log);
  switch (row) {
    case Row::k_link:
    case Row::k_linkat:
    case Row::k_rename:
    case Row::k_renameat:
    case Row::k_renameat2:
      return record_two_names(log, lock, row, info, arguments, perform);
    case Row::k_unlink:
    case Row::k_unlinkat:
    case Row::k_rmdir:
      return record_removal(log, lock, row, info, arguments, perform);
    default:
      return record_making(log, lock, row, info, arguments, perform);
  }
}

/// Whether the row changes what a trace knows of, and not only times.
bool changes_attributes(Row row) {
  switch (row) {
    case Row::k_utime:
    case Row::k_utimes:
    case Row::k_futimesat:
    case Row::k_utimensat:
    case Row::k_file_setattr:
      return false;
    default:
      return true;
  }
}

/// The file of an attribute call.
bool stat_attribute_target(Row row, const RowInfo& info, const Arguments& arguments,
                           struct stat& status) {
  if (const std::size_t position = find_role(info, Role::kDescriptor); position < kMaxArguments) {
    return stat_descriptor(static_cast<int>(arguments[position]), status);
  }
  const PathArgument where = path_argument(info, arguments, Role::kPath);
  int flags = 0;
  if (row == Row::k_lchown || row == Row::k_lsetxattr || row == Row::k_lremovexattr) {
    flags = AT_SYMLINK_NOFOLLOW;
  } else if (const std::size_t position = find_role(info, Role::kFlags);
             position < kMaxArguments && find_role(info, Role::kDirectory) < kMaxArguments) {
    flags = static_cast<int>(arguments[position]) & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
  }
  return !is_error(stat_path(where.directory, where.path, flags, status));
}

Outcome record_attribute(RecordingLog& log, Row row, const RowInfo& info,
                         const Arguments& arguments, Performance perform) {
  if (!changes_attributes(row)) return perform();
  LogLock lock(log);
  struct stat status;
  if (!stat_attribute_target(row, info, arguments, status) || status.st_dev != log.device) {
    return perform();
  }
  std::string_view attribute;
  bool sets_mode = false;
  if (const std::size_t position = find_role(info, Role::kText); position < kMaxArguments) {
    auto text = reinterpret_cast<const char*>(arguments[position]);
    if (!is_readable(text)) return perform();
    attribute = {text, strnlen(text, XATTR_NAME_MAX + 1)};
    // An access control list sets the mode too, which is all that a recorded tree knows of it.
    sets_mode = attribute == "system.posix_acl_access";
    if (!sets_mode && !attribute.starts_with("user.")) return perform();
  }
  RawRecord* record = lock.append({}, {}, sets_mode ? std::string_view() : attribute);
  if (record == nullptr) return perform();
  describe(*record, sets_mode ? Row::k_fchmod : row);
  record->file = status.st_ino;
  const Outcome outcome = perform();
  if (is_error(outcome.result)) {
    lock.drop(*record);
    return outcome;
  }
  if (sets_mode) {
    stat_attribute_target(row, info, arguments, status);
  } else if (row == Row::k_setxattrat) {
    struct {
      std::uint64_t value;
      std::uint32_t size;
      std::uint32_t flags;
    } value;
    std::memcpy(&value, reinterpret_cast<const void*>(arguments[4]), sizeof value);
    if (char* out = lock.add_data(*record, value.size))
      std::memcpy(out, reinterpret_cast<const void*>(value.value), value.size);
  } else if (const std::size_t buffer = find_role(info, Role::kBuffer); buffer < kMaxArguments) {
    const auto size = static_cast<std::size_t>(arguments[find_role(info, Role::kSize)]);
    if (char* out = lock.add_data(*record, size))
      std::memcpy(out, reinterpret_cast<const void*>(arguments[buffer]), size);
  } else {
    stat_attribute_target(row, info, arguments, status);  // as it is afterwards
  }
  set_attributes(*record, status);
  finish(lock, *record, outcome);
  return outcome;
}

Outcome record_mapping(RecordingLog& log, Row row, const Arguments& arguments,
                       Performance perform) {
  const Outcome outcome = perform();
  const bool shared =
      (arguments[3] & MAP_TYPE) == MAP_SHARED || (arguments[3] & MAP_TYPE) == MAP_SHARED_VALIDATE;
  struct stat status;
  if (is_error(outcome.result) || !shared || (arguments[2] & PROT_WRITE) == 0 ||
      !stat_descriptor(static_cast<int>(arguments[4]), status) || !is_recorded_file(log, status)) {
    return outcome;
  }
  append_unmodelled(log, row, outcome, status.st_ino, "a shared writable mapping of a file");
  return outcome;
}

Outcome record_submission(RecordingLog& log, Row row, const Arguments& arguments,
                          Performance perform) {
  const Outcome outcome = perform();
  auto blocks = reinterpret_cast<const iocb* const*>(arguments[2]);
  for (long i = 0; i < outcome.result; ++i) {
    const unsigned code = blocks[i]->aio_lio_opcode;
    struct stat status;
    if (code == IOCB_CMD_PREAD || code == IOCB_CMD_PREADV || code == IOCB_CMD_POLL ||
        !stat_descriptor(static_cast<long>(blocks[i]->aio_fildes), status) ||
        !is_recorded_file(log, status)) {
      continue;
    }
    append_unmodelled(log, row, outcome, status.st_ino, "an asynchronous write or sync (AIO)");
  }
  return outcome;
}

}  // namespace

Outcome log_call(RecordingLog& log, Row row, const Arguments& arguments, Performance perform) {
  const RowInfo& info = row_info(row);
  switch (info.kind) {
    case Kind::kOpen:
      return record_open(log, row, info, arguments, perform);
    case Kind::kWrite:
      return record_write(log, row, info, arguments, perform);
    case Kind::kCopy:
      return record_copy(log, row, info, arguments, perform);
    case Kind::kResize:
      return record_resize(log, row, arguments, perform);
    case Kind::kBarrier:
    case Kind::kHint:
      if (row == Row::k_msync) return record_memory_sync(log, row, arguments, perform);
      return record_barrier(log, row, info, arguments, perform);
    case Kind::kName:
      return record_name(log, row, info, arguments, perform);
    case Kind::kAttribute:
      return record_attribute(log, row, info, arguments, perform);
    case Kind::kMap:
      return record_mapping(log, row, arguments, perform);
    case Kind::kAsync:
      return record_submission(log, row, arguments, perform);
    case Kind::kClose:
    case Kind::kRead:
    case Kind::kDescriptor:
    case Kind::kLock:
    case Kind::kStat:
      return perform();
  }
  return perform();
}

}  // namespace crashgate::faultinject
