// The calls that make, move, remove and describe files: the CallRecorder's half that follows paths.
#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include <cerrno>

#include "faultinject/call_recorder.h"

#ifndef RENAME_EXCHANGE
#include <linux/fs.h>
#endif

namespace crashgate::faultinject {
namespace {

constexpr int kTmpfileBit = O_TMPFILE & ~O_DIRECTORY;

/// The flags of a call of Kind::kOpen.
std::optional<int> open_flags(const Tracee& tracee, const PendingCall& call) {
  if (call.event.row == Row::k_creat) return O_CREAT | O_WRONLY | O_TRUNC;
  if (call.event.row != Row::k_openat2) {
    return static_cast<int>(call.arguments[find_role(row_info(call.event.row), Role::kFlags)]);
  }
  std::uint64_t flags = 0;  // the first member of open_how
  if (!tracee.read_memory(call.arguments[2], &flags, sizeof flags)) return std::nullopt;
  return static_cast<int>(flags);
}

void describe_made(TraceEvent& event, const struct stat& status) {
  event.created = true;
  event.mode = status.st_mode;
  event.uid = status.st_uid;
  event.gid = status.st_gid;
}

/// Sockets are no part of a recorded tree.
bool makes_socket(const PendingCall& call) {
  const std::size_t mode_at = find_role(row_info(call.event.row), Role::kMode);
  const bool makes_node = call.event.row == Row::k_mknod || call.event.row == Row::k_mknodat;
  return makes_node && S_ISSOCK(call.arguments[mode_at]);
}

constexpr const char* kUnfollowed = "a path that could not be followed";

bool is_directory(const ResolvedPath& path) {
  return path.target && S_ISDIR(path.target->st_mode);
}

}  // namespace

CallRecorder::Course CallRecorder::begin_open(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  const auto flags = open_flags(tracee, call);
  if (!flags || (*flags & O_PATH)) return Course::kPass;
  const bool writes = (*flags & O_ACCMODE) != O_RDONLY;
  if (event.row == Row::k_open_by_handle_at) {
    if ((*flags & O_TRUNC) == 0) return Course::kPass;
    return unmodelled(call, "a file opened by its handle and cut to nothing");
  }
  const bool is_temporary = (*flags & kTmpfileBit) != 0;
  const bool creates = (*flags & O_CREAT) != 0 && !is_temporary;
  const bool follow =
      is_temporary || ((*flags & O_NOFOLLOW) == 0 && (!creates || (*flags & O_EXCL) == 0));
  if (!creates && !is_temporary && !writes && (*flags & O_TRUNC) == 0) return Course::kPass;
  auto path = path_argument(tracee, call, Role::kDirectory, Role::kPath, follow);
  if (!path) return unforeseen(call);
  event.flags = static_cast<std::uint64_t>(*flags);

  if (is_temporary) {
    if (!path->target) return unforeseen(call);
    const bool inside = tree_.numbering.find(*path->target) != kNoFile;
    call.place = inside ? Place::kInside : Place::kIgnored;
    event.created = true;
    return Course::kAlone;
  }
  call.place = place_of(*path);
  if (!path->target || (creates && (*flags & O_EXCL))) {
    if (!creates || !path->parent) return unforeseen(call);
    event.created = true;
    event.name = name_of(*path);
    call.path = std::move(*path);
    return Course::kAlone;
  }
  if (!S_ISREG(path->target->st_mode)) return Course::kPass;  // may wait: a FIFO, a terminal
  event.file = tree_.numbering.find(*path->target);
  if (event.file == kNoFile) {
    if (call.place == Place::kInside && path->parent) {
      call.came_in = path->target;
      return unmodelled(
          call, "\"" + path->name + "\" was made unseen: by a process that is not recorded");
    }
    return call.place == Place::kOutside && writes ? Course::kAlone : Course::kPass;
  }
  call.place = Place::kInside;
  if (!creates && (*flags & O_TRUNC) == 0) return Course::kPass;
  event.truncated = (*flags & O_TRUNC) != 0 && path->target->st_size != 0;
  if (path->parent) event.name = name_of(*path);
  return Course::kAlone;
}

bool CallRecorder::finish_open(Tracee& tracee, PendingCall& call, std::int64_t result) {
  TraceEvent& event = call.event;
  const auto file = tracee.open_file(static_cast<int>(result));
  if (!file) return false;
  bool as_expected = call.place != Place::kInside || event.created ||
                     tree_.numbering.find(file->status) == event.file;
  if (event.created && call.path.parent) {
    const auto found = call.path.look();
    as_expected =
        found && found->st_ino == file->status.st_ino && found->st_dev == file->status.st_dev;
  }
  if (!as_expected) {
    unmodelled(call, kUnfollowed);
    return true;
  }
  if (call.place != Place::kInside) {
    if (event.created) tree_.numbering.forget(file->status);
    if (call.place == Place::kOutside && S_ISREG(file->status.st_mode)) {
      note_written_outside(file->fd.get());
    }
    return false;
  }
  if (event.created) {
    event.file = tree_.numbering.made(file->status);
    describe_made(event, file->status);
  }
  return event.created || event.truncated;
}

/// A call that fails, as far as we can follow its path. If it does, this is forgotten.
CallRecorder::Course CallRecorder::unforeseen(PendingCall& call) const {
  return unmodelled(call, kUnfollowed);
}

/// mkdir, mknod, symlink and their likes.
CallRecorder::Course CallRecorder::begin_making(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  auto path = path_argument(tracee, call, Role::kDirectory, Role::kPath, false);
  if (!path) return unforeseen(call);
  if (!path->parent) return unforeseen(call);
  if (makes_socket(call)) return Course::kPass;
  call.place = place_of(*path);
  event.created = true;
  event.name = name_of(*path);
  if (event.row == Row::k_symlink || event.row == Row::k_symlinkat) {
    const auto target = tracee.read_string(call.arguments[0]);
    if (!target) return Course::kPass;
    event.text = *target;
  }
  call.path = std::move(*path);
  return Course::kAlone;
}

/// Of every call of Kind::kName.
bool CallRecorder::finish_making(PendingCall& call) {
  TraceEvent& event = call.event;
  if (!event.created) return true;
  const auto status = call.path.look();
  if (!status) {
    unmodelled(call, kUnfollowed);
    return true;
  }
  if (call.place != Place::kInside) {
    tree_.numbering.forget(*status);
    return false;
  }
  event.file = tree_.numbering.made(*status);
  describe_made(event, *status);
  return true;
}

CallRecorder::Course CallRecorder::begin_link(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  const bool follow = event.row == Row::k_linkat && (call.arguments[4] & AT_SYMLINK_FOLLOW) != 0;
  const auto from = path_argument(tracee, call, Role::kDirectory, Role::kPath, follow);
  const auto to = path_argument(tracee, call, Role::kDirectory2, Role::kPath2, false);
  if (!from || !to) return unforeseen(call);
  if (!from->target || !to->parent) return unforeseen(call);
  if (place_of(*to) != Place::kInside) return Course::kPass;
  if (from->parent) event.name = name_of(*from);
  event.name2 = name_of(*to);
  event.file = tree_.numbering.find(*from->target);
  if (event.file != kNoFile) return Course::kAlone;
  call.came_in = from->target;
  return unmodelled(call, "\"" + to->name + "\", a link to a file outside the tree or ignored");
}

CallRecorder::Course CallRecorder::begin_rename(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  const auto from = path_argument(tracee, call, Role::kDirectory, Role::kPath, false);
  const auto to = path_argument(tracee, call, Role::kDirectory2, Role::kPath2, false);
  if (!from || !to) return unforeseen(call);
  if (!from->target || !from->parent || !to->parent) return unforeseen(call);
  if (event.row == Row::k_renameat2) event.flags = call.arguments[4];
  const bool exchanges = (event.flags & RENAME_EXCHANGE) != 0;
  const bool from_inside = place_of(*from) == Place::kInside;
  const bool to_inside = place_of(*to) == Place::kInside;
  event.file = tree_.numbering.find(*from->target);
  if (event.file == kRootFile) return unmodelled(call, "the recorded directory itself was renamed");
  if (!from_inside && !to_inside) return Course::kPass;
  if (S_ISSOCK(from->target->st_mode)) {
    if (to->target) return unmodelled(call, "a socket renamed to the name of a file");
    return Course::kPass;
  }
  if (to->target) {
    call.changes_nothing =  // two hard links of one file
        to->target->st_ino == from->target->st_ino && to->target->st_dev == from->target->st_dev;
    event.replaced = tree_.numbering.find(*to->target);
  }
  if (from_inside) event.name = name_of(*from);
  if (to_inside) event.name2 = name_of(*to);
  if (event.flags & RENAME_WHITEOUT) return unmodelled(call, "a rename that leaves a whiteout");
  if (from_inside && to_inside) return Course::kAlone;
  if (exchanges || is_directory(*from)) {
    return unmodelled(call, "\"" + from->name + "\" was moved into or out of the tree");
  }
  if (!to_inside) event.replaced = kNoFile;
  if (event.file == kNoFile) {
    call.came_in = from->target;
    return unmodelled(call,
                      "\"" + to->name + "\" was moved into the tree, from outside or ignored");
  }
  return Course::kAlone;
}

CallRecorder::Course CallRecorder::begin_removal(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  const auto path = path_argument(tracee, call, Role::kDirectory, Role::kPath, false);
  if (!path) return unforeseen(call);
  if (!path->target || !path->parent) {
    const bool is_elsewhere = path->parent && place_of(*path) != Place::kInside;
    return is_elsewhere ? Course::kPass : unforeseen(call);
  }
  event.file = tree_.numbering.find(*path->target);
  if (event.file == kRootFile) return unmodelled(call, "the recorded directory itself was removed");
  if (place_of(*path) != Place::kInside || S_ISSOCK(path->target->st_mode)) return Course::kPass;
  event.name = name_of(*path);
  return Course::kAlone;
}

CallRecorder::Course CallRecorder::begin_attribute(Tracee& tracee, PendingCall& call) {
  TraceEvent& event = call.event;
  const RowInfo& row = row_info(event.row);
  const std::size_t text_at = find_role(row, Role::kText);
  if (text_at < kMaxArguments) {
    const auto name = tracee.read_string(call.arguments[text_at]);
    if (!name) return Course::kPass;
    // A mode may be set as an access control list (sed and cp do it), and is all of one that is
    // part of a recorded tree. Nor are labels and the like.
    const bool sets_mode = *name == "system.posix_acl_access";
    if (!sets_mode && !name->starts_with("user.")) return Course::kPass;
    call.sets_mode = sets_mode;
    if (!sets_mode) event.text = *name;
  }
  if (find_role(row, Role::kPath) < kMaxArguments) {
    const std::size_t flags_at = find_role(row, Role::kFlags);
    const bool is_link_call = event.row == Row::k_lchown || event.row == Row::k_lsetxattr ||
                              event.row == Row::k_lremovexattr;
    const bool says_so =
        flags_at < kMaxArguments && (call.arguments[flags_at] & AT_SYMLINK_NOFOLLOW) != 0;
    auto path =
        path_argument(tracee, call, Role::kDirectory, Role::kPath, !is_link_call && !says_so);
    if (!path) return unforeseen(call);
    if (!path->target) return unforeseen(call);
    call.path = std::move(*path);
  } else {
    auto file =
        tracee.open_file(static_cast<int>(call.arguments[find_role(row, Role::kDescriptor)]));
    if (!file) return Course::kPass;
    call.path.target = file->status;
    call.path.object = std::move(file->fd);
  }
  event.file = tree_.numbering.find(*call.path.target);
  if (event.file == kNoFile) return Course::kPass;
  if (call.sets_mode) return Course::kAlone;

  struct {
    std::uint64_t address = 0;
    std::uint32_t size = 0;
    std::uint32_t flags = 0;
  } value;  // struct xattr_args
  if (event.row == Row::k_setxattrat) {
    if (!tracee.read_memory(call.arguments[4], &value, sizeof value)) return Course::kPass;
  } else if (const std::size_t at = find_role(row, Role::kBuffer); at < kMaxArguments) {
    value.address = call.arguments[at];
    value.size = static_cast<std::uint32_t>(call.arguments[at + 1]);
  }
  constexpr std::uint32_t kMostBytes = 65536;  // XATTR_SIZE_MAX
  if (value.size > kMostBytes) return Course::kPass;
  std::string bytes(value.size, '\0');
  if (!tracee.read_memory(value.address, bytes.data(), bytes.size())) return Course::kPass;
  if (!bytes.empty()) event.data = trace_.add_data(bytes);
  return Course::kAlone;
}

bool CallRecorder::finish_attribute(PendingCall& call) {
  const auto status = call.path.look();
  if (!status) return false;
  if (call.sets_mode) {
    if (status->st_mode == call.path.target->st_mode) return false;
    call.event.row = Row::k_fchmod;
  }
  call.event.mode = status->st_mode;
  call.event.uid = status->st_uid;
  call.event.gid = status->st_gid;
  return true;
}

}  // namespace crashgate::faultinject
