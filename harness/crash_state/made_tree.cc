// What a stranger changed is found by stat: a write moves the modification time from long ago to
// now, whatever the clock's grain; anything else moves the change time, which since Linux 6.13 is
// never the same twice for one who looked in between (before: in steps of 4 ms, and an attribute
// that is changed within the step of our own change goes unnoticed). One thing moves neither: a
// store into a shared mapping of a page that was read through it before, since tmpfs keeps no dirty
// pages to write back. But mapping a file moves its access time. So a file whose access time has
// ever moved is compared byte by byte; on a mount with noatime, every file is.
#include "harness/crash_state/made_tree.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <string_view>

#include "harness/crash_state/file_content.h"
#include "harness/plan/scratch_directory.h"
#include "store/directory_entries.h"
#include "store/system_call.h"

namespace crashgate::harness {
namespace {

constexpr timespec kLongAgo{1, 0};
constexpr std::size_t kOpenDirectories = 128;  // kept open at most, beside the root
constexpr std::size_t kOpenAbove = 32;         // of those that lead to one
constexpr mode_t kPermissions = 07777;

std::int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

FileStamp stamp_of(const struct stat& status) {
  return {status.st_ino,
          status.st_mode,
          status.st_nlink,
          status.st_uid,
          status.st_gid,
          status.st_size,
          nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

// The attributes that whoever owns a directory may have set on it.
std::map<std::string, std::string> attributes_of(int fd) {
  std::string names(static_cast<std::size_t>(std::max<ssize_t>(0, ::flistxattr(fd, nullptr, 0))),
                    '\0');
  const ssize_t length = names.empty() ? 0 : ::flistxattr(fd, names.data(), names.size());
  names.resize(static_cast<std::size_t>(std::max<ssize_t>(0, length)));
  std::map<std::string, std::string> attributes;
  for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
    const std::string name(names.c_str() + at);
    if (!name.starts_with("user.") && !name.starts_with("system.posix_acl_")) continue;
    std::string value(64 * 1024, '\0');  // XATTR_SIZE_MAX
    const ssize_t size = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    value.resize(static_cast<std::size_t>(std::max<ssize_t>(0, size)));
    attributes.emplace(name, std::move(value));
  }
  return attributes;
}

void take_as_found(MadeFile& directory, int fd, const struct stat& status) {
  directory.file.mode = status.st_mode;
  if (directory.stamp.uid != status.st_uid || directory.stamp.inode == 0)
    directory.file.uid = status.st_uid;
  if (directory.stamp.gid != status.st_gid || directory.stamp.inode == 0)
    directory.file.gid = status.st_gid;
  directory.file.attributes = attributes_of(fd);
}

}  // namespace

bool is_directory(const TreeFile& file) {
  return S_ISDIR(file.mode);
}

std::string MadeTree::path_of(const MadeName& name) const {
  std::string result = name.name;
  for (auto at = files_.find(name.directory); at != files_.end() && !at->second.names.empty();
       at = files_.find(at->second.names.front().directory)) {
    result = at->second.names.front().name + "/" + result;
  }
  return path_ + "/" + result;
}

void MadeTree::fail(int errno_value, const char* call, const MadeName& name) const {
  throw Failed{
      error_from_errno(errno_value, std::string("make a crash state: ") + call, path_of(name))};
}

void MadeTree::expect(int result, const char* call, const MadeName& name) const {
  if (result != 0) fail(errno, call, name);
}

// -- Book-keeping -----------------------------------------------------------------------------

MadeFile* MadeTree::find(FileId id) {
  const auto found = files_.find(id);
  return found == files_.end() ? nullptr : &found->second;
}

void MadeTree::touch(FileId id, MadeFile& made) {
  if (std::exchange(made.touched, true)) return;
  touched_.push_back(id);
}

void MadeTree::set_name(const MadeName& name, FileId id) {
  auto& holder = files_.at(name.directory);
  holder.file.entries.insert_or_assign(name.name, id);
  touch(name.directory, holder);
  auto& made = files_.at(id);
  made.names.push_back(name);
  touch(id, made);
}

void MadeTree::unset_name(const MadeName& name) {
  auto& holder = files_.at(name.directory);
  const auto entry = holder.file.entries.find(name.name);
  const FileId id = entry->second;
  holder.file.entries.erase(entry);
  touch(name.directory, holder);
  auto& made = files_.at(id);
  std::erase(made.names, name);
  if (made.names.empty()) {
    files_.erase(id);
  } else {
    touch(id, made);
  }
}

void MadeTree::let_us_in(FileId id, MadeFile& made) {
  if ((made.file.mode & S_IRWXU) == S_IRWXU) return;
  made.file.mode |= S_IRWXU;
  touch(id, made);
  set_mode(made, made.descriptor.get(), made.file.mode);
}

int MadeTree::directory(FileId id) {
  std::vector<FileId> closed;  // from it upwards, below the first that is open
  FileId at = id;
  for (; !files_.at(at).descriptor; at = files_.at(at).names.front().directory)
    closed.push_back(at);
  let_us_in(at, files_.at(at));
  for (std::size_t i = closed.size(); i-- > 0;) {
    MadeFile& made = files_.at(closed[i]);
    let_us_in(closed[i], made);
    const MadeName& name = made.names.front();
    made.descriptor =
        UniqueFd(::openat(files_.at(name.directory).descriptor.get(), name.name.c_str(),
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made.descriptor) fail(errno, "open", name);
    open_directories_.push_back(closed[i]);
    // Of a deep tree not all that leads there can stay open.
    if (const std::size_t above = i + kOpenAbove; above < closed.size()) {
      files_.at(closed[above]).descriptor = UniqueFd();
      std::erase(open_directories_, closed[above]);
    }
  }
  return files_.at(id).descriptor.get();
}

void MadeTree::limit_descriptors() {
  if (open_directories_.size() < kOpenDirectories) return;
  for (const FileId id : open_directories_) {
    if (auto* made = find(id); made != nullptr) made->descriptor = UniqueFd();
  }
  open_directories_.clear();
}

std::pair<int, const char*> MadeTree::place_of(const MadeFile& made) {
  if (made.names.empty()) return {files_.at(root_).descriptor.get(), ""};
  const MadeName& name = made.names.front();
  return {directory(name.directory), name.name.c_str()};
}

void MadeTree::set_mode(const MadeFile& made, int fd, mode_t mode) {
  if (fd >= 0) {
    expect(::fchmod(fd, mode & kPermissions), "chmod", {});
    return;
  }
  const auto [parent, name] = place_of(made);
  expect(::fchmodat(parent, name, mode & kPermissions, AT_SYMLINK_NOFOLLOW), "chmod",
         made.names.front());
}

void MadeTree::stamp(MadeFile& made) {
  const timespec times[2] = {kLongAgo, kLongAgo};
  struct stat status;
  if (made.descriptor) {
    expect(::futimens(made.descriptor.get(), times), "utimens", {});
    expect(::fstat(made.descriptor.get(), &status), "stat", {});
  } else {
    const auto [parent, name] = place_of(made);
    expect(::utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW), "utimens", made.names.front());
    expect(::fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW), "stat", made.names.front());
  }
  made.stamp = stamp_of(status);
  made.touched = false;
}

// -- Beginning anew ---------------------------------------------------------------------------

void MadeTree::open_root() {
  const auto open_it = [&] {
    return UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  };
  UniqueFd opened = open_it();
  if (!opened && errno == ENOENT && ::mkdir(path_.c_str(), 0700) == 0) opened = open_it();
  if (!opened && errno == EACCES &&
      ::fchmodat(AT_FDCWD, path_.c_str(), 0700, AT_SYMLINK_NOFOLLOW) == 0) {
    opened = open_it();
  }
  if (!opened) throw Failed{error_from_errno(errno, "make a crash state: open", path_)};
  files_.clear();
  touched_.clear();
  open_directories_.clear();
  files_[root_].descriptor = std::move(opened);
}

void MadeTree::start_afresh(FileId root_number) {
  root_ = root_number;
  open_root();
  MadeFile& root = files_.at(root_);
  const int fd = root.descriptor.get();
  struct stat status;
  expect(::fstat(fd, &status), "fstat", {});
  expect(::fchmod(fd, S_IRWXU), "chmod", {});
  const auto entries = read_entries(fd, [](std::string_view) { return true; });
  if (!entries) throw Failed{entries.error()};
  for (const auto& entry : *entries) remove_unknown(root_, entry.name);
  status.st_mode = S_IFDIR | S_IRWXU;
  take_as_found(root, fd, status);
  touch(root_, root);
  struct statvfs info;
  reading_shows_ = ::fstatvfs(fd, &info) == 0 && (info.f_flag & ST_NOATIME) == 0;
}

// -- What a stranger has changed --------------------------------------------------------------

void MadeTree::remove_unknown(FileId id, const std::string& name) {
  if (const int failed = remove_entry(directory(id), name.c_str()); failed != 0)
    fail(failed, "remove", {id, name});
}

// The name is gone, or what stands there is not ours; with it goes all that has no other name.
void MadeTree::forget(const MadeName& name) {
  const auto id = files_.at(name.directory).file.entries.at(name.name);
  const auto& made = files_.at(id);
  if (is_directory(made.file)) {
    const auto entries = made.file.entries;
    for (const auto& [child, ignored] : entries) forget({id, child});
  }
  unset_name(name);
}

void MadeTree::mend() {
  struct stat named;
  struct stat held;
  if (::lstat(path_.c_str(), &named) != 0 ||
      ::fstat(files_.at(root_).descriptor.get(), &held) != 0 || named.st_ino != held.st_ino ||
      named.st_dev != held.st_dev) {
    start_afresh(root_);
    return;
  }
  std::vector<FileId> directories{root_};
  for (std::size_t i = 0; i < directories.size(); ++i) {
    limit_descriptors();
    const FileId id = directories[i];
    if (!mend_names(id)) continue;
    for (const auto& [name, child] : files_.at(id).file.entries) {
      if (is_directory(files_.at(child).file)) directories.push_back(child);
    }
  }
  mend_files();
}

// Of one directory; its parent has been mended. False: it is gone.
bool MadeTree::mend_names(FileId id) {
  MadeFile& made = files_.at(id);
  const auto [parent, own_name] = place_of(made);
  struct stat status;
  if (::fstatat(parent, own_name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
    fail(errno, "stat", {});
  if (status.st_ino != made.stamp.inode || !S_ISDIR(status.st_mode)) {
    const MadeName name = made.names.front();
    remove_unknown(name.directory, name.name);
    forget(name);
    return false;
  }
  if (stamp_of(status) == made.stamp) return true;

  made.file.mode = status.st_mode;  // before directory() relies on it
  const int fd = directory(id);
  status.st_mode = made.file.mode;
  take_as_found(made, fd, status);
  touch(id, made);
  const UniqueFd listing(::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!listing) fail(errno, "open", {id, "."});
  const auto entries = read_entries(listing.get(), [](std::string_view) { return true; });
  if (!entries) throw Failed{entries.error()};
  std::vector<std::string> missing;
  auto found = entries->begin();
  for (const auto& [name, file] : made.file.entries) {  // both are sorted
    for (; found != entries->end() && found->name < name; ++found) remove_unknown(id, found->name);
    if (found != entries->end() && found->name == name) {
      ++found;
    } else {
      missing.push_back(name);
    }
  }
  for (; found != entries->end(); ++found) remove_unknown(id, found->name);
  for (const auto& name : missing) forget({id, name});
  return true;
}

void MadeTree::mend_files() {
  std::vector<FileId> changed;
  for (auto& [id, made] : files_) {
    limit_descriptors();
    if (is_directory(made.file) || is_as_left(made)) continue;
    changed.push_back(id);
  }
  for (const FileId id : changed) {
    const auto names = files_.at(id).names;
    for (const auto& name : names) {
      remove_unknown(name.directory, name.name);
      forget(name);
    }
  }
}

bool MadeTree::is_as_left(MadeFile& made) {
  struct stat status;
  for (const auto& name : made.names) {
    if (::fstatat(directory(name.directory), name.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      fail(errno, "stat", name);
    if (stamp_of(status) != made.stamp) return false;
  }
  if (!S_ISREG(made.file.mode)) return true;
  made.was_read = made.was_read || nanoseconds(status.st_atim) != nanoseconds(kLongAgo);
  if (!made.was_read && reading_shows_) return true;
  const auto [parent, name] = place_of(made);
  const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd descriptor(::openat(parent, name, flags | O_NOATIME));
  if (!descriptor) descriptor = UniqueFd(::openat(parent, name, flags));
  return descriptor && holds_content(descriptor.get(), made.file);
}

}  // namespace crashgate::harness
