// The calls that move bytes, cut, force and map: the CallRecorder's half that follows descriptors.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "faultinject/call_recorder.h"
#include "faultinject/crashgate_ack.h"
#include "faultinject/data_reservation.h"
#include "faultinject/syscall_filter.h"
#include "faultinject/write_flags.h"

namespace crashgate::faultinject {
namespace {

int descriptor_argument(const PendingCall& call, Role role = Role::kDescriptor) {
  return static_cast<int>(call.arguments[find_role(row_info(call.event.row), role)]);
}

/// Whether reading from it may wait for somebody else.
bool may_wait(const struct stat& status) {
  return !S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode);
}

struct FileMapping {
  std::uint64_t start = 0;  // addresses
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // of `start` in the file
  UniqueFd file;             // O_PATH
  struct stat status = {};
};

/// The shared mappings of files that a range of addresses touches.
std::vector<FileMapping> shared_mappings(const Tracee& tracee, std::uint64_t address,
                                         std::uint64_t length) {
  std::vector<FileMapping> found;
  std::FILE* maps = std::fopen(tracee.proc_path("maps").c_str(), "re");
  if (maps == nullptr) {
    throw_if_exhausted();
    return found;
  }
  char line[PATH_MAX + 128];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    FileMapping mapping;
    char permissions[5] = "";
    int path_at = 0;
    if (std::sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &mapping.start, &mapping.end, permissions,
                    &mapping.offset, &path_at) != 4) {
      continue;
    }
    if (permissions[3] != 's' || mapping.end <= address || mapping.start >= address + length) {
      continue;
    }
    char link[64];
    std::snprintf(link, sizeof link, "map_files/%lx-%lx", mapping.start, mapping.end);
    mapping.file.reset(open(tracee.proc_path(link).c_str(), O_PATH | O_CLOEXEC));
    if (!mapping.file) {  // without privileges
      std::string path = line + path_at;
      if (path.ends_with("\n")) path.pop_back();
      mapping.file.reset(open(path.c_str(), O_PATH | O_CLOEXEC));
    }
    if (mapping.file && fstat(mapping.file.get(), &mapping.status) == 0) {
      found.push_back(std::move(mapping));
    }
  }
  std::fclose(maps);
  return found;
}

}  // namespace

/// Bytes of a file, read through `fd`, which has these `flags`, or, where that cannot read, through
/// a descriptor that is opened by it and kept for the next time.
std::optional<DataRef> CallRecorder::capture(FileId id, int fd, int flags, std::uint64_t offset,
                                             std::uint64_t count) {
  constexpr std::size_t kMostReaders = 64;
  DataRef ref{trace_.bytes.size(), 0};
  if (count == 0) return ref;
  int reader = fd;
  if ((flags & O_ACCMODE) != O_RDWR || (flags & (O_PATH | O_DIRECT)) != 0) {
    if (readers_.size() >= kMostReaders && !readers_.contains(id)) readers_.clear();
    UniqueFd& kept = readers_[id];
    if (!kept) {
      const std::string link = "/proc/self/fd/" + std::to_string(fd);
      kept.reset(open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
      if (!kept) throw_if_exhausted();
    }
    reader = kept.get();
  }
  reserve_data(trace_.bytes, count);
  trace_.bytes.resize(ref.position + count);
  while (ref.length < count) {
    const ssize_t got = pread(reader, trace_.bytes.data() + ref.position + ref.length,
                              count - ref.length, static_cast<off_t>(offset + ref.length));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    ref.length += static_cast<std::uint64_t>(got);
  }
  trace_.bytes.resize(ref.position + ref.length);
  if (ref.length < count) return std::nullopt;
  return ref;
}

CallRecorder::Course CallRecorder::begin_write(Tracee& tracee, PendingCall& call) {
  const int number = descriptor_argument(call);
  TraceEvent& event = call.event;
  if (event.row == Row::k_write && number == CRASHGATE_ACK_DESCRIPTOR) {
    event.kind = EventKind::kAcknowledgement;
    event.row = Row::kCount;
    call.promises_result = true;
    return Course::kAlone;
  }
  call.file = tracee.open_file(number);
  if (!call.file) return Course::kPass;
  if (output_.is(call.file->status)) {
    event.kind = EventKind::kAcknowledgement;
    return Course::kAlone;
  }
  event.file = tree_.numbering.find(call.file->status);
  if (event.file == kNoFile || !S_ISREG(call.file->status.st_mode)) return Course::kPass;
  const RowInfo& row = row_info(event.row);
  const std::size_t flags_at = find_role(row, Role::kFlags);
  const std::uint64_t flags = flags_at < kMaxArguments ? call.arguments[flags_at] : 0;
  event.sync = sync_of(call.file->flags, flags);
  call.appends = is_append(call.file->flags, flags);
  const std::size_t offset_at = find_role(row, Role::kOffset);
  // An offset of -1 means the position, to pwritev2 only; elsewhere it fails.
  if (offset_at < kMaxArguments && static_cast<std::int64_t>(call.arguments[offset_at]) != -1) {
    call.offset = call.arguments[offset_at];
  }
  return Course::kAlone;
}

/// copy_file_range, sendfile, splice, tee, vmsplice.
CallRecorder::Course CallRecorder::begin_copy(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  int target = static_cast<int>(call.arguments[call.number == kVmsplice ? 0 : 1]);
  int source = static_cast<int>(call.arguments[0]);
  const bool is_row = event.row != Row::kCount;
  if (is_row) {
    target = descriptor_argument(call);
    source = descriptor_argument(call, Role::kSource);
  }
  call.file = tracee.open_file(target);
  const auto from = tracee.open_file(source);
  if (!call.file || !from) return Course::kPass;
  const Course course =
      call.number != kVmsplice && may_wait(from->status) ? Course::kBeside : Course::kAlone;
  if (output_.is(call.file->status)) {
    event.kind = EventKind::kAcknowledgement;
    return course;
  }
  event.file = tree_.numbering.find(call.file->status);
  if (!is_row || event.file == kNoFile || !S_ISREG(call.file->status.st_mode)) {
    return Course::kPass;
  }
  event.source = tree_.numbering.find(from->status);
  event.sync = sync_of(call.file->flags);
  if (event.row != Row::k_sendfile && call.arguments[3] != 0) {
    std::uint64_t offset = 0;
    if (!tracee.read_memory(call.arguments[3], &offset, sizeof offset)) return Course::kPass;
    call.offset = offset;
  }
  return course;
}

CallRecorder::Course CallRecorder::begin_clone(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  call.file = tracee.open_file(descriptor_argument(call));
  if (!call.file) return Course::kPass;
  event.file = tree_.numbering.find(call.file->status);
  if (event.file == kNoFile) return Course::kPass;
  file_clone_range range = {static_cast<int>(call.arguments[2]), 0, 0, 0};
  switch (static_cast<std::uint32_t>(call.arguments[1])) {
    case static_cast<std::uint32_t>(FICLONE):
      break;
    case static_cast<std::uint32_t>(FICLONERANGE):
      if (!tracee.read_memory(call.arguments[2], &range, sizeof range)) return Course::kPass;
      break;
    default:
      return unmodelled(call, "an ioctl that allocates, frees or zeroes space of a file");
  }
  const auto source = tracee.open_file(static_cast<int>(range.src_fd));
  if (!source) return Course::kPass;
  event.source = tree_.numbering.find(source->status);
  event.sync = sync_of(call.file->flags);
  call.offset = range.dest_offset;
  const auto size = static_cast<std::uint64_t>(source->status.st_size);
  call.promised_length = range.src_length;
  if (range.src_length == 0)
    call.promised_length = size - std::min<std::uint64_t>(size, range.src_offset);
  return Course::kAlone;
}

CallRecorder::Course CallRecorder::begin_resize(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  std::optional<struct stat> status;
  if (event.row == Row::k_truncate) {
    auto path = path_argument(tracee, call, Role::kDirectory, Role::kPath, true);
    if (!path || !path->target) return unforeseen(call);
    status = path->target;
  } else if (auto file = tracee.open_file(descriptor_argument(call))) {
    status = file->status;
  }
  if (!status || !S_ISREG(status->st_mode)) return Course::kPass;
  event.file = tree_.numbering.find(*status);
  if (event.file == kNoFile) return Course::kPass;
  if (event.row == Row::k_fallocate) {
    event.flags = call.arguments[1];
    event.offset = call.arguments[2];
    event.length = call.arguments[3];
  } else {
    event.length = call.arguments[1];
  }
  return Course::kAlone;
}

CallRecorder::Course CallRecorder::begin_barrier(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  if (event.row == Row::k_sync || event.row == Row::k_msync) return Course::kAlone;
  const auto file = tracee.open_file(descriptor_argument(call));
  if (!file) return Course::kPass;
  if (event.row == Row::k_syncfs) {
    return file->status.st_dev == tree_.device ? Course::kAlone : Course::kPass;
  }
  event.file = tree_.numbering.find(file->status);
  if (event.file == kNoFile) return Course::kPass;
  if (!S_ISREG(file->status.st_mode) && !S_ISDIR(file->status.st_mode)) return Course::kPass;
  if (row_info(event.row).kind == Kind::kHint) {
    event.offset = call.arguments[1];
    event.length = call.arguments[2];
    event.flags = call.arguments[3];
  }
  return Course::kAlone;
}

CallRecorder::Course CallRecorder::begin_map(Tracee& tracee, PendingCall& call) {
  if (call.arguments[3] & MAP_ANONYMOUS) return Course::kPass;
  const auto file = tracee.open_file(descriptor_argument(call));
  if (!file || (file->flags & O_ACCMODE) != O_RDWR) return Course::kPass;
  const FileId id = tree_.numbering.find(file->status);
  if (id == kNoFile || !S_ISREG(file->status.st_mode)) return Course::kPass;
  if ((call.arguments[2] & PROT_WRITE) == 0) {
    mapped_changeable_.insert(id);
    return Course::kPass;
  }
  if (mapped_writable_.contains(id)) return Course::kPass;
  call.event.file = id;
  return unmodelled(call, "a shared writable mapping of a file");
}

CallRecorder::Course CallRecorder::begin_protect(Tracee& tracee, PendingCall& call) {
  if (mapped_changeable_.empty()) return Course::kPass;
  for (const FileMapping& mapping : shared_mappings(tracee, call.arguments[0], call.arguments[1])) {
    const FileId id = tree_.numbering.find(mapping.status);
    if (!mapped_changeable_.contains(id) || mapped_writable_.contains(id)) continue;
    call.event.file = id;
    call.event.row = Row::k_mmap;
    return unmodelled(call, "a shared mapping of a file, made writable");
  }
  return Course::kPass;
}

bool CallRecorder::finish_write(Tracee& tracee, PendingCall& call, std::uint64_t count) {
  if (count == 0) return false;
  TraceEvent& event = call.event;
  const int fd = call.file->fd.get();
  if (call.appends) {
    struct stat status;
    if (fstat(fd, &status) != 0) return false;
    event.offset = static_cast<std::uint64_t>(status.st_size) - count;
  } else if (call.offset) {
    event.offset = *call.offset;
  } else {
    const auto position = tracee.position(descriptor_argument(call), *call.file);
    event.offset = position.value_or(count) - count;
  }
  if (is_contested(event.file, event.offset, count)) {
    event.kind = EventKind::kUnmodelled;
    event.text = kContested;
  } else if (auto data = capture(event.file, fd, call.file->duplicate ? call.file->flags : O_PATH,
                                 event.offset, count)) {
    event.data = *data;
  } else {
    event.kind = EventKind::kUnmodelled;
    event.text = "a write of " + std::to_string(count) + " bytes at " +
                 std::to_string(event.offset) + " that could not be read back";
  }
  return true;
}

std::optional<std::int64_t> CallRecorder::finish_acknowledgement(Tracee& tracee, PendingCall& call,
                                                                 std::int64_t result,
                                                                 bool returned) {
  std::optional<std::int64_t> told;
  std::string text;
  if (call.promises_result) {
    text.resize(std::min<std::uint64_t>(call.arguments[2], 1 << 20));
    if (!tracee.read_memory(call.arguments[1], text.data(), text.size())) return std::nullopt;
    told = result = static_cast<std::int64_t>(text.size());
    acknowledged_explicitly_ = true;
  } else {
    if (result <= 0) return std::nullopt;
    text = output_.take(static_cast<std::size_t>(result));
  }
  call.event.data = trace_.add_data(text);
  emit(call, result, returned);
  return told;
}

/// One event for each file that the range touches.
void CallRecorder::finish_memory_sync(Tracee& tracee, PendingCall& call, std::int64_t result,
                                      bool returned) {
  const std::uint64_t address = call.arguments[0], length = call.arguments[1];
  for (const FileMapping& mapping : shared_mappings(tracee, address, length)) {
    const FileId id = tree_.numbering.find(mapping.status);
    if (id == kNoFile || !S_ISREG(mapping.status.st_mode)) continue;
    constexpr std::uint64_t kPage = 4096;
    const std::uint64_t start = std::max(address, mapping.start);
    const std::uint64_t end = std::min((address + length + kPage - 1) / kPage * kPage, mapping.end);
    const auto size = static_cast<std::uint64_t>(mapping.status.st_size);
    PendingCall part;
    part.event = call.event;
    part.event.file = id;
    part.event.offset = mapping.offset + (start - mapping.start);
    const std::uint64_t last = std::min(size, part.event.offset + (end - start));
    const std::uint64_t count = last > part.event.offset ? last - part.event.offset : 0;
    if (auto data = capture(id, mapping.file.get(), O_PATH, part.event.offset, count)) {
      part.event.data = *data;
    }
    emit(part, result, returned);
    call.event.begin = ++clock_;
  }
}

}  // namespace crashgate::faultinject
