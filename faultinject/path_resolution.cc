// Paths of a traced thread, resolved from here, before the call that they are for has an effect.
//
// The way to the last component's directory is left to the kernel (openat2 from a descriptor of the
// thread's working directory, root or directory) where there is no symlink and no ".." on it. Else
// it is walked a component at a time, since three things mean something else here than there: an
// absolute symlink leads to the thread's root, ".." stops at it, and /proc/self is the thread's.
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <deque>
#include <string_view>

#include "faultinject/tracee.h"

namespace crashgate::faultinject {
namespace {

constexpr int kMostSymlinks = 40;  // as the kernel's

UniqueFd open_path(int directory, const char* name, int flags) {
  UniqueFd file(openat(directory, name, O_PATH | O_CLOEXEC | flags));
  if (!file) throw_if_exhausted();
  return file;
}

std::optional<std::string> read_link(int directory, const char* name) {
  char target[PATH_MAX];
  const ssize_t length = readlinkat(directory, name, target, sizeof target);
  if (length < 0) return std::nullopt;
  return std::string(target, static_cast<std::size_t>(length));
}

bool on_procfs(int fd) {
  struct statfs status;
  return fstatfs(fd, &status) == 0 && status.f_type == PROC_SUPER_MAGIC;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// A link of /proc that leads to an object and not along its text: those whose text is a path, or
/// no path at all ("pipe:[1234]"). The others (self, mounts, net) are relative.
bool is_magic_link(const std::string& target) {
  return target.starts_with("/") || target.ends_with("]") || target.starts_with("anon_inode:");
}

void push_components(std::deque<std::string>& rest, std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end > 0) parts.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  rest.insert(rest.begin(), parts.begin(), parts.end());
}

}  // namespace

std::optional<struct stat> ResolvedPath::look() const {
  struct stat status;
  const bool found = object
                         ? fstat(object.get(), &status) == 0
                         : fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (!found) return std::nullopt;
  return status;
}

std::optional<UniqueFd> Tracee::walk(UniqueFd start, std::string path, bool follow_last) {
  if (path.empty()) return start;
  const bool plain = path.front() != '/' && path.find("..") == std::string::npos;
  if (plain) {
    open_how how = {};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_NO_SYMLINKS;  // the magic ones of /proc included
    UniqueFd end(
        static_cast<int>(syscall(SYS_openat2, start.get(), path.c_str(), &how, sizeof how)));
    if (end) return end;
    throw_if_exhausted();
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) return std::nullopt;
  }
  UniqueFd root = open_path(AT_FDCWD, proc_path("root").c_str(), 0);
  struct stat root_status;
  if (!root || fstat(root.get(), &root_status) != 0) return std::nullopt;
  const auto to_root = [&] { start = open_path(root.get(), ".", 0); };
  if (path.front() == '/') to_root();
  std::deque<std::string> rest;
  push_components(rest, path);
  int symlinks = 0;
  while (!rest.empty()) {
    std::string name = std::move(rest.front());
    rest.pop_front();
    struct stat status;
    if (name == ".." && fstat(start.get(), &status) == 0 && same_file(status, root_status))
      continue;
    const bool in_proc = (name == "self" || name == "thread-self") && on_procfs(start.get());
    UniqueFd next = open_path(start.get(), name.c_str(), O_NOFOLLOW);
    if (!next || fstat(next.get(), &status) != 0) return std::nullopt;
    if (!S_ISLNK(status.st_mode) || (rest.empty() && !follow_last)) {
      start = std::move(next);
      continue;
    }
    if (++symlinks > kMostSymlinks) return std::nullopt;
    auto target = read_link(next.get(), "");
    if (!target) return std::nullopt;
    if (in_proc) {
      // By our number of it, which is another one in a process-id namespace of its own.
      start = open_path(AT_FDCWD, "/proc", 0);
      *target = std::to_string(process_);
      if (name == "thread-self") *target += "/task/" + std::to_string(thread_);
    } else if (is_magic_link(*target) && on_procfs(start.get())) {
      UniqueFd object = open_path(start.get(), name.c_str(), 0);
      if (!object) return std::nullopt;
      start = std::move(object);
      continue;
    }
    if (target->starts_with("/")) to_root();
    push_components(rest, *target);
  }
  return start;
}

std::optional<ResolvedPath> Tracee::resolve(int directory, std::string path, bool follow) {
  if (path.empty()) return std::nullopt;
  UniqueFd start;
  if (path.front() == '/') {
    start = open_path(AT_FDCWD, proc_path("root").c_str(), 0);
    path.erase(0, path.find_first_not_of('/'));
  } else if (directory == AT_FDCWD) {
    start = open_path(AT_FDCWD, proc_path("cwd").c_str(), 0);
  } else if (auto file = open_file(directory)) {
    start = std::move(file->fd);
  }
  for (int symlinks = 0; start && symlinks <= kMostSymlinks; ++symlinks) {
    while (path.ends_with("/")) {
      path.pop_back();
      follow = true;
    }
    const std::size_t slash = path.rfind('/');
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    ResolvedPath result;
    struct stat status;
    if (name.empty() || name == "." || name == "..") {
      auto end = walk(std::move(start), path, true);
      if (!end || fstat(end->get(), &status) != 0) return std::nullopt;
      result.target = status;
      result.object = std::move(*end);
      return result;
    }
    auto parent =
        walk(std::move(start), slash == std::string::npos ? "" : path.substr(0, slash), true);
    if (!parent || fstat(parent->get(), &result.parent_status) != 0) return std::nullopt;
    if (fstatat(parent->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
      result.target = status;
    } else if (errno != ENOENT) {
      return std::nullopt;
    }
    if (!result.target || !S_ISLNK(status.st_mode) || !follow) {
      result.parent = std::move(*parent);
      result.name = name;
      return result;
    }
    auto target = read_link(parent->get(), name.c_str());
    if (!target) return std::nullopt;
    if (on_procfs(parent->get())) {
      auto end = walk(std::move(*parent), name, true);
      if (!end || fstat(end->get(), &status) != 0) return std::nullopt;
      result.target = status;
      result.object = std::move(*end);
      return result;
    }
    start = std::move(*parent);
    path = std::move(*target);
    if (path.starts_with("/")) {
      start = open_path(AT_FDCWD, proc_path("root").c_str(), 0);
      path.erase(0, path.find_first_not_of('/'));
    }
  }
  return std::nullopt;
}

}  // namespace crashgate::faultinject
