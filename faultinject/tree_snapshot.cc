#include "faultinject/tree_snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "faultinject/data_reservation.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {
namespace {

constexpr std::string_view kUserNamespace = "user.";
/// Directories deeper than this are closed while what is below them is read.
constexpr std::size_t kOpenDirectories = 64;

class TreeReader {
 public:
  TreeReader(const std::string& root, const IgnoredPaths& ignored, FileNumbering& numbering,
             std::string& bytes)
      : root_(root), ignored_(ignored), numbering_(numbering), bytes_(bytes) {}

  tl::expected<Snapshot, TraceError> read() {
    UniqueFd root(open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat status;
    if (!root || fstat(root.get(), &status) != 0) return tl::unexpected(failure("", true));
    add_file(status);
    if (auto read = read_directory(root, 0, "", 0); !read) {
      return tl::unexpected(read.error());
    }
    return std::move(snapshot_);
  }

 private:
  using Done = tl::expected<void, TraceError>;

  TraceError failure(const std::string& path, bool bad_input = false) const {
    return {(path.empty() ? root_ : root_ + "/" + path) + ": " + std::strerror(errno), bad_input};
  }

  SnapshotFile& add_file(const struct stat& status) {
    SnapshotFile file;
    file.id = numbering_.number(status);
    file.mode = status.st_mode;
    file.uid = status.st_uid;
    file.gid = status.st_gid;
    seen_.insert(file.id);
    return snapshot_.files.emplace_back(std::move(file));
  }

  static tl::expected<std::vector<std::string>, int> names_in(int directory) {
    UniqueFd listing(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(listing ? fdopendir(listing.get()) : nullptr,
                                                     closedir);
    if (!stream) return tl::unexpected(errno);
    listing.release();
    std::vector<std::string> names;
    while (true) {
      errno = 0;
      const dirent* entry = readdir(stream.get());
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return tl::unexpected(errno);
    return names;
  }

  /// `index` is the directory's place in the snapshot. Recursion is as deep as the tree;
  /// `directory` may be closed meanwhile, and is open again at the end.
  Done read_directory(UniqueFd& directory, std::size_t index, const std::string& path,
                      std::size_t depth) {
    if (auto read = read_attributes(directory.get(), index, path); !read) return read;
    const auto names = names_in(directory.get());
    if (!names) {
      errno = names.error();
      return tl::unexpected(failure(path));
    }
    for (const std::string& name : *names) {
      const std::string entry_path = path.empty() ? name : path + "/" + name;
      if (ignored_.contains(entry_path)) continue;
      if (auto read = read_entry(directory, index, name, entry_path, depth); !read) return read;
    }
    return {};
  }

  Done read_entry(UniqueFd& holder, std::size_t index, const std::string& name,
                  const std::string& path, std::size_t depth) {
    const int directory = holder.get();
    struct stat status;
    if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return tl::unexpected(failure(path));
    }
    if (S_ISSOCK(status.st_mode)) return {};
    const FileId id = numbering_.number(status);
    snapshot_.files[index].entries[name] = id;
    if (seen_.contains(id)) return {};
    const std::size_t place = snapshot_.files.size();
    add_file(status);
    if (S_ISLNK(status.st_mode)) {
      std::string& target = snapshot_.files[place].target;
      target.resize(PATH_MAX);
      const ssize_t length = readlinkat(directory, name.c_str(), target.data(), target.size());
      if (length < 0) return tl::unexpected(failure(path));
      target.resize(static_cast<std::size_t>(length));
      return {};
    }
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return {};
    UniqueFd file(
        openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    if (!file) return tl::unexpected(failure(path));
    if (S_ISDIR(status.st_mode)) return read_below(holder, file, place, path, depth + 1);
    snapshot_.files[place].size = static_cast<std::uint64_t>(status.st_size);
    if (auto read = read_content(file.get(), place, path); !read) return read;
    return read_attributes(file.get(), place, path);
  }

  Done read_below(UniqueFd& holder, UniqueFd& directory, std::size_t index, const std::string& path,
                  std::size_t depth) {
    if (depth <= kOpenDirectories) return read_directory(directory, index, path, depth);
    struct stat before, after;
    if (fstat(holder.get(), &before) != 0) return tl::unexpected(failure(path));
    holder.reset();
    if (auto read = read_directory(directory, index, path, depth); !read) return read;
    holder.reset(openat(directory.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!holder || fstat(holder.get(), &after) != 0) return tl::unexpected(failure(path));
    if (after.st_ino == before.st_ino && after.st_dev == before.st_dev) return {};
    errno = ESTALE;  // it was moved meanwhile
    return tl::unexpected(failure(path));
  }

  Done read_content(int file, std::size_t index, const std::string& path) {
    const auto size = static_cast<off_t>(snapshot_.files[index].size);
    off_t offset = 0;
    while (offset < size) {
      const off_t start = lseek(file, offset, SEEK_DATA);
      if (start < 0 && errno == ENXIO) break;  // a hole up to the end
      if (start < 0) return tl::unexpected(failure(path));
      off_t end = lseek(file, start, SEEK_HOLE);
      if (end < 0) return tl::unexpected(failure(path));
      end = std::min(end, size);
      Extent extent{static_cast<std::uint64_t>(start),
                    {bytes_.size(), static_cast<std::uint64_t>(end - start)}};
      reserve_data(bytes_, extent.data.length);
      bytes_.resize(bytes_.size() + extent.data.length);
      for (off_t done = start; done < end;) {
        const ssize_t count = pread(file, bytes_.data() + extent.data.position + (done - start),
                                    static_cast<std::size_t>(end - done), done);
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) errno = ESTALE;  // shorter than it was a moment ago
        if (count <= 0) return tl::unexpected(failure(path));
        done += count;
      }
      snapshot_.files[index].extents.push_back(extent);
      offset = end;
    }
    return {};
  }

  Done read_attributes(int file, std::size_t index, const std::string& path) {
    std::string names(XATTR_LIST_MAX, '\0');
    const ssize_t length = flistxattr(file, names.data(), names.size());
    if (length < 0 && errno == ENOTSUP) return {};
    if (length < 0) return tl::unexpected(failure(path));
    names.resize(static_cast<std::size_t>(length));
    for (std::size_t at = 0; at < names.size();) {
      const std::string name = names.c_str() + at;
      at += name.size() + 1;
      if (!name.starts_with(kUserNamespace)) continue;
      std::string value(XATTR_SIZE_MAX, '\0');
      const ssize_t size = fgetxattr(file, name.c_str(), value.data(), value.size());
      if (size < 0) return tl::unexpected(failure(path));
      value.resize(static_cast<std::size_t>(size));
      snapshot_.files[index].attributes[name] = std::move(value);
    }
    return {};
  }

  const std::string& root_;
  const IgnoredPaths& ignored_;
  FileNumbering& numbering_;
  std::string& bytes_;
  Snapshot snapshot_;
  std::unordered_set<FileId> seen_;  // hard links are read once
};

}  // namespace

bool IgnoredPaths::contains(const std::string& relative_path) const {
  if (globs_.empty()) return false;
  // Every leading part, so that an ignored directory takes along what it holds.
  for (std::size_t end = relative_path.find('/');; end = relative_path.find('/', end + 1)) {
    const std::string part = relative_path.substr(0, end);
    const std::string last = part.substr(part.rfind('/') + 1);
    for (const std::string& glob : globs_) {
      if (fnmatch(glob.c_str(), part.c_str(), 0) == 0) return true;
      if (fnmatch(glob.c_str(), last.c_str(), 0) == 0) return true;
    }
    if (end == std::string::npos) return false;
  }
}

tl::expected<Snapshot, TraceError> read_tree(const std::string& directory,
                                             const IgnoredPaths& ignored, FileNumbering& numbering,
                                             std::string& bytes) {
  return TreeReader(directory, ignored, numbering, bytes).read();
}

}  // namespace crashgate::faultinject
