#include "faultinject/call_recorder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "faultinject/syscall_filter.h"

namespace crashgate::faultinject {
namespace {

// Results by which the kernel says to itself that a call was interrupted before it did anything,
// and is to be made again: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK.
bool is_restart(std::int64_t result) {
  return result == -512 || result == -513 || result == -514 || result == -516;
}

}  // namespace

CallRecorder::Course CallRecorder::begin(Tracee& tracee, PendingCall& call) {
  note_reaped(tracee);
  call.event.begin = ++clock_;
  const auto row = find_row_by_number(call.number);
  if (!row) {
    if (call.number == kIoDestroy) return Course::kPass;
    if (call.number == kMprotect || call.number == kPkeyMprotect)
      return begin_protect(tracee, call);
    return begin_copy(tracee, call);  // tee, vmsplice
  }
  call.event.row = *row;
  switch (row_info(*row).kind) {
    case Kind::kOpen:
      return begin_open(tracee, call);
    case Kind::kWrite:
      return begin_write(tracee, call);
    case Kind::kCopy:
      return *row == Row::k_ioctl ? begin_clone(tracee, call) : begin_copy(tracee, call);
    case Kind::kAsync:
      return begin_submit(tracee, call);
    case Kind::kResize:
      return begin_resize(tracee, call);
    case Kind::kBarrier:
    case Kind::kHint:
      return begin_barrier(tracee, call);
    case Kind::kMap:
      return begin_map(tracee, call);
    case Kind::kAttribute:
      return begin_attribute(tracee, call);
    case Kind::kName:
      break;
    default:
      return Course::kPass;
  }
  switch (*row) {
    case Row::k_link:
    case Row::k_linkat:
      return begin_link(tracee, call);
    case Row::k_rename:
    case Row::k_renameat:
    case Row::k_renameat2:
      return begin_rename(tracee, call);
    case Row::k_unlink:
    case Row::k_unlinkat:
    case Row::k_rmdir:
      return begin_removal(tracee, call);
    default:
      return begin_making(tracee, call);
  }
}

std::optional<std::int64_t> CallRecorder::finish(Tracee& tracee, PendingCall& call,
                                                 std::int64_t result, bool returned) {
  if (is_restart(result)) return std::nullopt;
  TraceEvent& event = call.event;
  if (event.kind == EventKind::kAcknowledgement) {
    return finish_acknowledgement(tracee, call, result, returned);
  }
  const Kind kind = row_info(event.row).kind;
  // A barrier that failed matters; one that was not even tried does not.
  const bool failed_barrier = event.kind == EventKind::kStorage && kind == Kind::kBarrier &&
                              result != -EBADF && result != -EINVAL;
  if ((result < 0 && !failed_barrier) || call.changes_nothing) return std::nullopt;
  if (call.came_in) event.file = tree_.numbering.number(*call.came_in);
  const bool maps = event.kind == EventKind::kUnmodelled && event.row == Row::k_mmap;
  if (maps && !mapped_writable_.insert(event.file).second) return std::nullopt;
  bool changed = true;
  if (event.kind == EventKind::kStorage) {
    switch (kind) {
      case Kind::kOpen:
        changed = finish_open(tracee, call, result);
        break;
      case Kind::kWrite:
      case Kind::kCopy:
        changed = finish_write(
            tracee, call,
            event.row == Row::k_ioctl ? call.promised_length : static_cast<std::uint64_t>(result));
        break;
      case Kind::kAsync:
        finish_submit(tracee, call, result);
        changed = false;
        break;
      case Kind::kName:
        changed = finish_making(call);
        break;
      case Kind::kAttribute:
        changed = finish_attribute(call);
        break;
      case Kind::kBarrier:
        if (event.row == Row::k_msync) {
          finish_memory_sync(tracee, call, result, returned);
          changed = false;
        }
        break;
      default:
        break;
    }
  }
  if (changed) emit(call, result, returned);
  return std::nullopt;
}

void CallRecorder::emit(PendingCall& call, std::int64_t result, bool returned) {
  call.event.result = result;
  call.event.end = ++clock_;
  if (!returned) call.event.end = 0;
  stamp_disk(call.event);
  trace_.events.push_back(std::move(call.event));
}

void CallRecorder::stamp_disk(TraceEvent& event) const {
  if (disk_stamp_ != nullptr) event.disk_stamp = disk_stamp_->load(std::memory_order_acquire);
}

void CallRecorder::add_unmodelled(std::uint32_t process, std::uint32_t thread, std::string text) {
  PendingCall call;
  call.event.kind = EventKind::kUnmodelled;
  call.event.process = process;
  call.event.thread = thread;
  call.event.begin = ++clock_;
  call.event.text = std::move(text);
  emit(call, 0, true);
}

void CallRecorder::add_told(const std::string& text) {
  PendingCall call;
  call.event.kind = EventKind::kAcknowledgement;
  call.event.begin = ++clock_;
  call.event.data = trace_.add_data(text);
  emit(call, static_cast<std::int64_t>(text.size()), false);
}

CallRecorder::Course CallRecorder::unmodelled(PendingCall& call, std::string text) const {
  call.event.kind = EventKind::kUnmodelled;
  call.event.text = std::move(text);
  return Course::kAlone;
}

std::optional<ResolvedPath> CallRecorder::path_argument(Tracee& tracee, const PendingCall& call,
                                                        Role directory, Role path,
                                                        bool follow) const {
  const RowInfo& row = row_info(call.event.row);
  const std::size_t at = find_role(row, path);
  auto text = tracee.read_string(call.arguments[at]);
  if (!text) return std::nullopt;
  const std::size_t directory_at = find_role(row, directory);
  const int base = directory_at < kMaxArguments && directory_at + 1 == at
                       ? static_cast<int>(call.arguments[directory_at])
                       : AT_FDCWD;
  if (call.event.row == Row::k_openat2) {
    open_how how = {};
    if (!tracee.read_memory(call.arguments[2], &how, sizeof how)) return std::nullopt;
    if (how.resolve & RESOLVE_IN_ROOT) text->insert(0, "./");
  }
  if (!text->empty()) return tracee.resolve(base, *text, follow);
  // Without AT_EMPTY_PATH the call fails, and nothing comes of this.
  if (base == AT_FDCWD) return tracee.resolve(base, ".", follow);
  auto file = tracee.open_file(base);
  if (!file) return std::nullopt;
  ResolvedPath result;
  result.target = file->status;
  result.object = std::move(file->fd);
  return result;
}

namespace {

std::string path_of_descriptor(int fd) {
  char target[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), target, sizeof target);
  return length < 0 ? std::string() : std::string(target, static_cast<std::size_t>(length));
}

}  // namespace

CallRecorder::Place CallRecorder::place_of(const ResolvedPath& path) const {
  const bool known = tree_.numbering.find(path.parent_status) != kNoFile;
  if (tree_.ignored.empty() || !path.parent) return known ? Place::kInside : Place::kOutside;
  const std::string full = path_of_descriptor(path.parent.get()) + "/" + path.name;
  const bool below = full.starts_with(tree_.path + "/");
  if (below && tree_.ignored.contains(full.substr(tree_.path.size() + 1))) return Place::kIgnored;
  return known ? Place::kInside : Place::kOutside;
}

NameRef CallRecorder::name_of(const ResolvedPath& path) const {
  return {tree_.numbering.find(path.parent_status), path.name};
}

void CallRecorder::note_written_outside(int fd) {
  constexpr std::size_t kMost = 48;
  std::string path = path_of_descriptor(fd);
  if (path.empty() || path.starts_with("/proc/") || path.starts_with("/sys/")) return;
  if (written_outside_.size() >= kMost && !written_outside_.contains(path)) {
    more_written_outside_ = true;
    return;
  }
  written_outside_.insert(std::move(path));
}

}  // namespace crashgate::faultinject
