// How a tree becomes another. Everything that was made is remembered: each file with its names and
// with what stat said of it right after. make() walks the new tree in memory, which gives the names
// that go, the names that come, and the files that differ; system calls are made for these alone:
//
//   1. A file or directory that loses all its names here but has one there is parked under a
//      temporary name in the root. Then no name that comes can be in the way of one that goes.
//   2. Names that go are unlinked, what a directory holds before itself.
//   3. Names that come are made, a directory before what it holds: parked, linked, or new.
//   4. Files that differ are written where they differ.
//   5. Directories get their modes last, children first: until then they must let us in.
//   6. All that was touched gets times of long ago and is looked at with stat.
//
// What a stranger changed is found by stat: a write moves the modification time from long ago to
// now, whatever the clock's grain; anything else moves the change time, which since Linux 6.13 is
// never the same twice for one who looked in between (before: in steps of 4 ms, and an attribute
// that is changed within the step of our own change goes unnoticed). One thing moves neither: a
// store into a shared mapping of a page that was read through it before, since tmpfs keeps no dirty
// pages to write back. But mapping a file moves its access time. So a file whose access time has
// ever moved is compared byte by byte; on a mount with noatime, every file is.
#include "harness/crash_state/materializer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "harness/crash_state/file_content.h"
#include "harness/plan/scratch_directory.h"
#include "store/directory_entries.h"
#include "store/system_call.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr timespec kLongAgo{1, 0};
constexpr std::size_t kOpenDirectories = 128;  // kept open at most, beside the root
constexpr mode_t kPermissions = 07777;

// What ends a make(). Thrown and caught in this file only.
struct Failed {
  Error error;
};

struct Name {
  FileId directory = faultinject::kNoFile;
  std::string name;
  bool operator==(const Name&) const = default;
};

// A name that comes or goes, and of what file.
struct NamedFile {
  Name name;
  FileId file = faultinject::kNoFile;
};

// What stat says of a file, without its access time.
struct Stamp {
  ino_t inode = 0;
  mode_t mode = 0;
  nlink_t links = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  off_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const Stamp&) const = default;
};

std::int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

Stamp stamp_of(const struct stat& status) {
  return {status.st_ino,
          status.st_mode,
          status.st_nlink,
          status.st_uid,
          status.st_gid,
          status.st_size,
          nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

struct MadeFile {
  TreeFile file;              // as on disk, except owners that were not ours to set
  std::vector<Name> names;    // none: the root
  bool mode_is_known = true;  // a write or a change of owner may clear S_ISUID and S_ISGID
  Stamp stamp;
  std::uint64_t seen = 0;  // the last make() whose tree has it
  bool touched = false;    // its stamp is out of date
  bool was_read = false;   // by a stranger, at some time: may be mapped
  UniqueFd descriptor;     // of a directory, where open
};

bool is_directory(const TreeFile& file) {
  return S_ISDIR(file.mode);
}

// Whether one can become the other by changes.
bool same_kind(const TreeFile& one, const TreeFile& other) {
  return (one.mode & S_IFMT) == (other.mode & S_IFMT) && one.target == other.target;
}

bool same_metadata(const TreeFile& one, const TreeFile& other) {
  return one.mode == other.mode && one.uid == other.uid && one.gid == other.gid &&
         one.attributes == other.attributes;
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

}  // namespace

struct Materializer::State {
  explicit State(std::string directory) : path(std::move(directory)) {}

  Result<void> make(const DirectoryTree& tree);

  std::string path;
  bool unknown = true;             // what the directory holds
  bool open_to_strangers = false;  // since the last make()

 private:
  struct Difference {
    std::vector<NamedFile> going;   // in an order in which they can go
    std::vector<NamedFile> coming;  // a directory before what it holds
    std::vector<FileId> changed;    // of what is there before and after
  };

  void start_afresh();
  void open_root();
  void take_as_found(MadeFile& directory, int fd, const struct stat& status);

  void mend();
  bool mend_names(FileId id);
  void mend_files();
  bool is_as_left(MadeFile& made);
  void forget(const Name& name);
  void remove_unknown(FileId directory, const std::string& name);

  bool compare(const DirectoryTree& tree, Difference& difference);
  void add_going(const NamedFile& going, std::vector<NamedFile>& all) const;
  void park(std::vector<NamedFile>& going, const DirectoryTree& tree);
  void remove(const NamedFile& going);
  void add(const NamedFile& coming, const TreeFile& file);
  void create(const NamedFile& coming, const TreeFile& file);
  void change(FileId id, const TreeFile& file, UniqueFd descriptor);
  void finish(const DirectoryTree& tree);

  void set_metadata(MadeFile& made, const TreeFile& file, int fd);
  void set_attributes(MadeFile& made, const TreeFile& file);
  void set_mode(MadeFile& made, int fd, mode_t mode);
  void set_name(const Name& name, FileId id);
  void unset_name(const Name& name);
  void touch(FileId id, MadeFile& made);
  void stamp(MadeFile& made);
  int directory(FileId id);
  void limit_descriptors();
  /// The parent's descriptor and the name in it: of the root its own, and "".
  std::pair<int, const char*> place_of(const MadeFile& made);
  std::string path_of(const Name& name) const;
  [[noreturn]] void fail(int errno_value, const char* call, const Name& name) const;
  void expect(int result, const char* call, const Name& name) const {
    if (result != 0) fail(errno, call, name);
  }
  MadeFile* find(FileId id) {
    const auto found = made_.find(id);
    return found == made_.end() ? nullptr : &found->second;
  }

  FileId root_ = faultinject::kRootFile;
  std::vector<std::shared_ptr<const void>> owned_;  // bytes that trees brought along
  bool reading_shows_ = false;                      // in access times
  std::uint64_t generation_ = 0;
  std::unordered_map<FileId, MadeFile> made_;
  std::vector<FileId> touched_;
  std::unordered_set<FileId> parked_;
  std::vector<FileId> open_directories_;
};

// ---------------------------------------------------------------------------------------- errors

std::string Materializer::State::path_of(const Name& name) const {
  std::string result = name.name;
  for (auto at = made_.find(name.directory); at != made_.end() && !at->second.names.empty();
       at = made_.find(at->second.names.front().directory)) {
    result = at->second.names.front().name + "/" + result;
  }
  return path + "/" + result;
}

void Materializer::State::fail(int errno_value, const char* call, const Name& name) const {
  throw Failed{
      error_from_errno(errno_value, std::string("make a crash state: ") + call, path_of(name))};
}

// ------------------------------------------------------------------------------------ book-keeping

void Materializer::State::touch(FileId id, MadeFile& made) {
  if (std::exchange(made.touched, true)) return;
  touched_.push_back(id);
}

void Materializer::State::set_name(const Name& name, FileId id) {
  auto& holder = made_.at(name.directory);
  holder.file.entries.insert_or_assign(name.name, id);
  touch(name.directory, holder);
  auto& made = made_.at(id);
  made.names.push_back(name);
  touch(id, made);
}

// Without a name left, the file is gone.
void Materializer::State::unset_name(const Name& name) {
  auto& holder = made_.at(name.directory);
  const auto entry = holder.file.entries.find(name.name);
  const FileId id = entry->second;
  holder.file.entries.erase(entry);
  touch(name.directory, holder);
  auto& made = made_.at(id);
  std::erase(made.names, name);
  if (made.names.empty()) {
    made_.erase(id);
  } else {
    touch(id, made);
  }
}

// A descriptor through which the directory's entries can be changed. Its mode is widened if need
// be, until finish().
int Materializer::State::directory(FileId id) {
  MadeFile& made = made_.at(id);
  if ((made.file.mode & S_IRWXU) != S_IRWXU) {
    made.file.mode |= S_IRWXU;
    touch(id, made);
    set_mode(made, made.descriptor.get(), made.file.mode);
  }
  if (!made.descriptor) {
    const auto [parent, name] = place_of(made);
    made.descriptor =
        UniqueFd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made.descriptor) fail(errno, "open", made.names.front());
    open_directories_.push_back(id);
  }
  return made.descriptor.get();
}

// Called where no descriptor of a directory is in use.
void Materializer::State::limit_descriptors() {
  if (open_directories_.size() < kOpenDirectories) return;
  for (const FileId id : open_directories_) {
    if (auto* made = find(id); made != nullptr) made->descriptor = UniqueFd();
  }
  open_directories_.clear();
}

std::pair<int, const char*> Materializer::State::place_of(const MadeFile& made) {
  if (made.names.empty()) return {made_.at(root_).descriptor.get(), ""};
  const Name& name = made.names.front();
  return {directory(name.directory), name.name.c_str()};
}

// ---------------------------------------------------------------------------------- beginning anew

void Materializer::State::open_root() {
  const auto open_it = [&] {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  };
  UniqueFd opened = open_it();
  if (!opened && errno == ENOENT && ::mkdir(path.c_str(), 0700) == 0) opened = open_it();
  if (!opened && errno == EACCES &&
      ::fchmodat(AT_FDCWD, path.c_str(), 0700, AT_SYMLINK_NOFOLLOW) == 0) {
    opened = open_it();
  }
  if (!opened) throw Failed{error_from_errno(errno, "make a crash state: open", path)};
  made_.clear();
  touched_.clear();
  parked_.clear();
  open_directories_.clear();
  made_[root_].descriptor = std::move(opened);
}

void Materializer::State::start_afresh() {
  open_root();
  MadeFile& root = made_.at(root_);
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
  unknown = false;
}

void Materializer::State::take_as_found(MadeFile& directory, int fd, const struct stat& status) {
  directory.file.mode = status.st_mode;
  if (directory.stamp.uid != status.st_uid || directory.stamp.inode == 0)
    directory.file.uid = status.st_uid;
  if (directory.stamp.gid != status.st_gid || directory.stamp.inode == 0)
    directory.file.gid = status.st_gid;
  directory.file.attributes = attributes_of(fd);
}

// ---------------------------------------------------------------------- what a stranger has
// changed

void Materializer::State::remove_unknown(FileId id, const std::string& name) {
  if (const int failed = remove_entry(directory(id), name.c_str()); failed != 0)
    fail(failed, "remove", {id, name});
}

// The name is gone, or what stands there is not ours; with it goes all that has no other name.
void Materializer::State::forget(const Name& name) {
  const auto id = made_.at(name.directory).file.entries.at(name.name);
  const auto& made = made_.at(id);
  if (is_directory(made.file)) {
    const auto entries = made.file.entries;
    for (const auto& [child, ignored] : entries) forget({id, child});
  }
  unset_name(name);
}

void Materializer::State::mend() {
  struct stat named;
  struct stat held;
  if (::lstat(path.c_str(), &named) != 0 || ::fstat(made_.at(root_).descriptor.get(), &held) != 0 ||
      named.st_ino != held.st_ino || named.st_dev != held.st_dev) {
    start_afresh();
    return;
  }
  std::vector<FileId> directories{root_};
  for (std::size_t i = 0; i < directories.size(); ++i) {
    limit_descriptors();
    const FileId id = directories[i];
    if (!mend_names(id)) continue;
    for (const auto& [name, child] : made_.at(id).file.entries) {
      if (is_directory(made_.at(child).file)) directories.push_back(child);
    }
  }
  mend_files();
}

// Of one directory; its parent has been mended. False: it is gone.
bool Materializer::State::mend_names(FileId id) {
  MadeFile& made = made_.at(id);
  const auto [parent, own_name] = place_of(made);
  struct stat status;
  if (::fstatat(parent, own_name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
    fail(errno, "stat", {});
  if (status.st_ino != made.stamp.inode || !S_ISDIR(status.st_mode)) {
    const Name name = made.names.front();
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

void Materializer::State::mend_files() {
  std::vector<FileId> changed;
  for (auto& [id, made] : made_) {
    limit_descriptors();
    if (is_directory(made.file) || is_as_left(made)) continue;
    changed.push_back(id);
  }
  for (const FileId id : changed) {
    const auto names = made_.at(id).names;
    for (const auto& name : names) {
      remove_unknown(name.directory, name.name);
      forget(name);
    }
  }
}

bool Materializer::State::is_as_left(MadeFile& made) {
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

// -------------------------------------------------------------------------------------- comparison

// False: a FileId stands for another file than before, so the trees are not of one trace.
bool Materializer::State::compare(const DirectoryTree& tree, Difference& difference) {
  ++generation_;
  struct Visit {
    FileId id;
    const TreeFile* file;
    MadeFile* made;  // null: new
  };
  std::vector<Visit> directories;
  std::unordered_set<FileId> new_files;
  std::vector<NamedFile> going;

  bool comparable = true;

  // Whether the name counts: not where it is the second name of a directory.
  const auto visit = [&](FileId id, const Name& name) {
    const auto found = tree.files.find(id);
    if (found == tree.files.end()) {
      throw Failed{
          {ErrorCode::kInvalidArgument, 0, "make a crash state: a name of no file", path_of(name)}};
    }
    const TreeFile& file = found->second;
    MadeFile* made = find(id);
    const bool first = made != nullptr ? std::exchange(made->seen, generation_) != generation_
                                       : new_files.insert(id).second;
    if (!first) return !is_directory(file);
    if (is_directory(file)) directories.push_back({id, &file, made});
    if (made == nullptr) return true;
    comparable = comparable && same_kind(made->file, file);
    if (!same_metadata(made->file, file) ||
        (S_ISREG(file.mode) && !same_content(made->file, file))) {
      difference.changed.push_back(id);
    }
    return true;
  };

  visit(tree.root, {});
  static const std::map<std::string, FileId> no_entries;
  for (std::size_t i = 0; i < directories.size() && comparable; ++i) {
    const auto [id, file, made] = directories[i];
    const auto& before = made != nullptr ? made->file.entries : no_entries;
    auto old_entry = before.begin();
    const auto old_goes = [&] {
      going.push_back({{id, old_entry->first}, old_entry->second});
      ++old_entry;
    };
    for (const auto& [name, child] : file->entries) {
      while (old_entry != before.end() && old_entry->first < name) old_goes();
      const bool counts = visit(child, {id, name});
      const bool is_old = old_entry != before.end() && old_entry->first == name;
      if (is_old && counts && old_entry->second == child) {
        ++old_entry;
        continue;
      }
      if (is_old) old_goes();
      if (counts) difference.coming.push_back({{id, name}, child});
    }
    while (old_entry != before.end()) old_goes();
  }
  if (!comparable) return false;
  for (const auto& one : going) add_going(one, difference.going);
  return true;
}

// With all that a directory holds that the new tree has no more.
void Materializer::State::add_going(const NamedFile& going, std::vector<NamedFile>& all) const {
  const MadeFile& made = made_.at(going.file);
  if (is_directory(made.file) && made.seen != generation_) {
    for (const auto& [name, child] : made.file.entries) add_going({{going.file, name}, child}, all);
  }
  all.push_back(going);
}

// ------------------------------------------------------------------------------------------
// changes

void Materializer::State::park(std::vector<NamedFile>& going, const DirectoryTree& tree) {
  std::unordered_map<FileId, std::size_t> names_going;
  for (const auto& one : going) ++names_going[one.file];
  const auto& root_entries = tree.files.at(root_).entries;
  std::erase_if(going, [&](const NamedFile& one) {
    auto& made = made_.at(one.file);
    auto& count = names_going.at(one.file);
    if (made.seen != generation_ || count != made.names.size()) return false;
    limit_descriptors();
    std::string parked = ".crashgate-parked-" + std::to_string(one.file);
    while (root_entries.contains(parked) || made_.at(root_).file.entries.contains(parked))
      parked += '-';
    if (is_directory(made.file)) directory(one.file);  // it must be ours to write: its ".." changes
    expect(::renameat(directory(one.name.directory), one.name.name.c_str(), directory(root_),
                      parked.c_str()),
           "rename", one.name);
    set_name({root_, parked}, one.file);
    unset_name(one.name);
    parked_.insert(one.file);
    count = 0;  // its other names go as any
    return true;
  });
}

void Materializer::State::remove(const NamedFile& going) {
  limit_descriptors();
  const int flags = is_directory(made_.at(going.file).file) ? AT_REMOVEDIR : 0;
  expect(::unlinkat(directory(going.name.directory), going.name.name.c_str(), flags), "unlink",
         going.name);
  unset_name(going.name);
}

void Materializer::State::add(const NamedFile& coming, const TreeFile& file) {
  limit_descriptors();
  const MadeFile* made = find(coming.file);
  if (made == nullptr) {
    create(coming, file);
    return;
  }
  const Name source = made->names.front();
  const bool parked = parked_.erase(coming.file) != 0;
  const int from = directory(source.directory);
  const int to = directory(coming.name.directory);
  if (parked) {
    expect(::renameat(from, source.name.c_str(), to, coming.name.name.c_str()), "rename",
           coming.name);
  } else {
    expect(::linkat(from, source.name.c_str(), to, coming.name.name.c_str(), 0), "link",
           coming.name);
  }
  set_name(coming.name, coming.file);
  if (parked) unset_name(source);
}

void Materializer::State::create(const NamedFile& coming, const TreeFile& file) {
  const int parent = directory(coming.name.directory);
  const char* name = coming.name.name.c_str();
  const mode_t type = file.mode & S_IFMT;
  const mode_t inherited = made_.at(coming.name.directory).file.mode & S_ISGID;
  MadeFile made;
  made.seen = generation_;
  made.file.mode = type | S_IRUSR | S_IWUSR;
  made.file.uid = ::geteuid();
  made.file.gid = inherited != 0 ? file.gid + 1 : ::getegid();  // whatever it is: set it
  UniqueFd descriptor;
  switch (type) {
    case S_IFDIR:
      made.file.mode = S_IFDIR | S_IRWXU | inherited;
      expect(::mkdirat(parent, name, S_IRWXU), "mkdir", coming.name);
      break;
    case S_IFREG:
      descriptor = UniqueFd(::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!descriptor) fail(errno, "create", coming.name);
      break;
    case S_IFLNK:
      made.file.mode = file.mode;  // a symlink has none
      made.file.target = file.target;
      expect(::symlinkat(file.target.c_str(), parent, name), "symlink", coming.name);
      break;
    default:
      expect(::mknodat(parent, name, made.file.mode, 0), "mknod", coming.name);
  }
  made_.emplace(coming.file, std::move(made));
  set_name(coming.name, coming.file);
  change(coming.file, file, std::move(descriptor));
}

// `descriptor`: of a regular file, open for writing, or none.
void Materializer::State::change(FileId id, const TreeFile& file, UniqueFd descriptor) {
  MadeFile& made = made_.at(id);
  touch(id, made);
  if (is_directory(file)) return;  // finish() does it
  const bool writes = S_ISREG(file.mode) && !same_content(made.file, file);
  const mode_t needed = S_IRUSR | S_IWUSR;
  if ((made.file.mode & needed) != needed && (writes || made.file.attributes != file.attributes)) {
    made.file.mode |= needed;
    set_mode(made, descriptor.get(), made.file.mode);
  }
  if (writes) {
    const auto [parent, name] = place_of(made);
    if (!descriptor)
      descriptor = UniqueFd(::openat(parent, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!descriptor) fail(errno, "open", made.names.front());
    const int failed = write_difference(descriptor.get(), made.file, file);
    if (failed != 0) fail(failed, "write", made.names.front());
    made.file.size = file.size;
    made.file.content = file.content;
    made.mode_is_known = false;
  }
  set_metadata(made, file, descriptor.get());
}

void Materializer::State::set_metadata(MadeFile& made, const TreeFile& file, int fd) {
  const auto name_of = [&] { return made.names.empty() ? Name{} : made.names.front(); };
  if (made.file.uid != file.uid || made.file.gid != file.gid) {
    const auto [parent, name] = place_of(made);
    const int changed =
        ::fchownat(parent, name, file.uid, file.gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
    // Not root, or root of a user namespace that does not know the owner.
    if (changed != 0 && errno != EPERM && errno != EINVAL) fail(errno, "chown", name_of());
    made.file.uid = file.uid;
    made.file.gid = file.gid;
    made.mode_is_known = false;
  }
  if (made.file.attributes != file.attributes) set_attributes(made, file);
  const bool has_mode = made.file.mode == file.mode && made.mode_is_known;
  if (!has_mode && !S_ISLNK(file.mode)) set_mode(made, fd, file.mode);
  made.file.mode = file.mode;
  made.mode_is_known = true;
}

void Materializer::State::set_attributes(MadeFile& made, const TreeFile& file) {
  const auto [parent, name] = place_of(made);
  const auto place = "/proc/self/fd/" + std::to_string(parent) + "/" + name;
  const Name own_name = made.names.empty() ? Name{} : made.names.front();
  for (const auto& [attribute, value] : made.file.attributes) {
    if (file.attributes.contains(attribute)) continue;
    expect(::lremovexattr(place.c_str(), attribute.c_str()), "removexattr", own_name);
  }
  for (const auto& [attribute, value] : file.attributes) {
    const auto before = made.file.attributes.find(attribute);
    if (before != made.file.attributes.end() && before->second == value) continue;
    expect(::lsetxattr(place.c_str(), attribute.c_str(), value.data(), value.size(), 0), "setxattr",
           own_name);
  }
  made.file.attributes = file.attributes;
}

void Materializer::State::set_mode(MadeFile& made, int fd, mode_t mode) {
  if (fd >= 0) {
    expect(::fchmod(fd, mode & kPermissions), "chmod", {});
    return;
  }
  const auto [parent, name] = place_of(made);
  expect(::fchmodat(parent, name, mode & kPermissions, AT_SYMLINK_NOFOLLOW), "chmod",
         made.names.front());
}

// Files first, then directories, children before parents. Reaching a child may widen its parent's
// mode once more: hence rounds.
void Materializer::State::finish(const DirectoryTree& tree) {
  std::vector<std::pair<std::size_t, FileId>> directories;  // with their depths
  while (!touched_.empty()) {
    directories.clear();
    for (std::size_t i = 0; i < touched_.size(); ++i) {
      MadeFile* made = find(touched_[i]);
      if (made == nullptr || !made->touched) continue;
      if (is_directory(made->file)) {
        std::size_t depth = 0;
        for (const auto* at = made; !at->names.empty(); ++depth)
          at = &made_.at(at->names.front().directory);
        directories.emplace_back(depth, touched_[i]);
        made->touched = false;
      } else {
        limit_descriptors();
        stamp(*made);
      }
    }
    touched_.clear();
    std::ranges::sort(directories, std::greater());
    for (const auto& [depth, id] : directories) {
      limit_descriptors();
      MadeFile& made = made_.at(id);
      const int fd = directory(id);
      set_metadata(made, tree.files.at(id), fd);
      stamp(made);
    }
  }
}

void Materializer::State::stamp(MadeFile& made) {
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

// ---------------------------------------------------------------------------------------- make()

Result<void> Materializer::State::make(const DirectoryTree& tree) {
  try {
    if (tree.root != root_) unknown = true;
    root_ = tree.root;
    if (tree.owned && (owned_.empty() || owned_.back() != tree.owned)) owned_.push_back(tree.owned);
    const bool verify = std::exchange(open_to_strangers, false);
    const bool afresh = std::exchange(unknown, true);
    if (afresh) {
      start_afresh();
    } else if (verify) {
      mend();
    }
    Difference difference;
    if (!compare(tree, difference)) {
      start_afresh();
      difference = {};
      compare(tree, difference);
    }
    park(difference.going, tree);
    for (const auto& going : difference.going) remove(going);
    for (const auto& coming : difference.coming) add(coming, tree.files.at(coming.file));
    for (const FileId id : difference.changed) {
      limit_descriptors();
      change(id, tree.files.at(id), UniqueFd());
    }
    finish(tree);
    unknown = false;
  } catch (const Failed& failed) {
    return tl::unexpected(failed.error);
  }
  return {};
}

Materializer::Materializer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Materializer::Materializer(Materializer&&) noexcept = default;
Materializer& Materializer::operator=(Materializer&&) noexcept = default;
Materializer::~Materializer() = default;

Result<Materializer> Materializer::create(const std::string& directory) {
  const UniqueFd opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!opened) return tl::unexpected(error_from_errno(errno, "materialize: open", directory));
  const auto entries = read_entries(opened.get(), [](std::string_view) { return true; });
  if (!entries) return tl::unexpected(entries.error());
  if (!entries->empty())
    return tl::unexpected(error_from_errno(ENOTEMPTY, "materialize", directory));
  return Materializer(std::make_unique<State>(directory));
}

Result<void> Materializer::make(const DirectoryTree& tree) {
  return state_->make(tree);
}

void Materializer::verify_before_next() {
  state_->open_to_strangers = true;
}

}  // namespace crashgate::harness
