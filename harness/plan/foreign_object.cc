#include "harness/plan/foreign_object.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <map>
#include <system_error>

#include "harness/plan/scratch_directory.h"
#include "harness/plan/tree_walk.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

struct KindRow {
  ForeignKind kind;
  std::string_view name;
  std::string_view words;
  std::string_view target;  // of a symlink in the root
  mode_t type;
};
constexpr KindRow kKinds[] = {
    {ForeignKind::kSymlinkToFile, "symlink-to-file", "a symlink to a file outside the root",
     "../outside/file", S_IFLNK},
    {ForeignKind::kSymlinkToDirectory, "symlink-to-directory",
     "a symlink to a directory outside the root", "../outside", S_IFLNK},
    {ForeignKind::kSymlinkToNothing, "symlink-to-nothing",
     "a symlink to a free name outside the root", "../outside/nothing", S_IFLNK},
    {ForeignKind::kSymlinkToObject, "symlink-to-object", "a symlink to another object",
     kLinkedObject, S_IFLNK},
    {ForeignKind::kSymlinkToRoot, "symlink-to-root", "a symlink to the root", ".", S_IFLNK},
    {ForeignKind::kFifo, "fifo", "a FIFO that nobody else has open", "", S_IFIFO},
    {ForeignKind::kSocket, "socket", "a socket", "", S_IFSOCK},
    {ForeignKind::kDevice, "device", "a device", "", S_IFCHR},
    {ForeignKind::kDirectory, "directory", "a directory", "", S_IFDIR},
};

constexpr std::string_view kSentinel = "This is outside the root, and none of the store's.\n";

const KindRow& row_of(ForeignKind kind) {
  return *std::ranges::find(kKinds, kind, &KindRow::kind);
}

dev_t device_number() {
  return ::makedev(1, 3);  // what /dev/null is: opening it does nothing
}

std::string outside_of(const std::string& root) {
  return root + "/../outside";
}

// Up to the root, and from there to the target.
std::string target_of(const ForeignObject& object) {
  std::string target;
  for (const char c : object.path) target += c == '/' ? "../" : "";
  return target + std::string(row_of(object.kind).target);
}

tl::unexpected<Error> cannot(const char* call, const std::string& path) {
  return tl::unexpected(error_from_errno(errno, call, path));
}

Result<void> make_outside(const std::string& outside) {
  for (const auto& directory : {outside, outside + "/" + std::string(kOutsideDirectory)}) {
    if (::mkdir(directory.c_str(), 0700) != 0) return cannot("mkdir", directory);
  }
  for (const auto name : {kOutsideFile, kOutsideFileBelow}) {
    const auto path = outside + "/" + std::string(name);
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file || ::write(file.get(), kSentinel.data(), kSentinel.size()) !=
                     static_cast<ssize_t>(kSentinel.size()))
      return cannot("write", path);
  }
  return {};
}

Result<void> make_object(const std::string& root, const ForeignObject& object) {
  const std::string path = root + "/" + object.path;
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failed);
  if (failed)
    return tl::unexpected(error_from_errno(failed.value(), "make directories", object.path));
  const auto type = row_of(object.kind).type;
  const int made = type == S_IFLNK   ? ::symlink(target_of(object).c_str(), path.c_str())
                   : type == S_IFDIR ? ::mkdir(path.c_str(), 0700)
                                     : ::mknod(path.c_str(), type | 0600, device_number());
  if (made != 0)
    return cannot(type == S_IFLNK ? "symlink" : type == S_IFDIR ? "mkdir" : "mknod", object.path);
  return {};
}

std::string damage_to_object(const std::string& root, const ForeignObject& object) {
  const std::string path = root + "/" + object.path;
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) return "\"" + object.path + "\" was removed";
  std::error_code failed;
  const bool as_placed =
      (status.st_mode & S_IFMT) == row_of(object.kind).type &&
      (!is_symlink(object.kind) ||
       std::filesystem::read_symlink(path, failed).string() == target_of(object));
  return as_placed ? "" : "\"" + object.path + "\" was replaced";
}

std::string damage_outside(const std::string& outside) {
  std::map<std::string, std::string> expected{
      {std::string(kOutsideFile), std::string(kSentinel)},
      {std::string(kOutsideDirectory), ""},
      {std::string(kOutsideFileBelow), std::string(kSentinel)}};
  std::string damage;
  walk_tree(outside, [&](const TreeEntry& entry) {
    const auto known = expected.find(entry.path);
    if (known == expected.end())
      damage = "\"" + entry.path + "\" was created outside the root";
    else if ((entry.type == DT_REG ? content_of(entry) : "") != known->second)
      damage = "\"" + entry.path + "\" outside the root was changed";
    expected.erase(entry.path);
  });
  if (damage.empty() && !expected.empty())
    damage = "\"" + expected.begin()->first + "\" outside the root was removed";
  return damage;
}

}  // namespace

std::string_view to_string(ForeignKind kind) {
  return row_of(kind).name;
}

std::optional<ForeignKind> find_foreign_kind(std::string_view name) {
  const auto* found = std::ranges::find(kKinds, name, &KindRow::name);
  return found == std::end(kKinds) ? std::nullopt : std::optional(found->kind);
}

std::string_view describe(ForeignKind kind) {
  return row_of(kind).words;
}

bool is_symlink(ForeignKind kind) {
  return row_of(kind).type == S_IFLNK;
}

Result<void> place_foreign_objects(const std::string& root,
                                   const std::vector<ForeignObject>& objects) {
  auto made = make_outside(outside_of(root));
  for (std::size_t i = 0; made && i < objects.size(); ++i) made = make_object(root, objects[i]);
  return made;
}

std::string damage_to_foreign_objects(const std::string& root,
                                      const std::vector<ForeignObject>& objects) {
  std::string damage = damage_outside(outside_of(root));
  for (std::size_t i = 0; damage.empty() && i < objects.size(); ++i)
    damage = damage_to_object(root, objects[i]);
  return damage;
}

std::optional<Obstacle> obstacle_to(std::string_view key,
                                    const std::vector<ForeignObject>& objects) {
  for (const auto& object : objects) {
    const bool directory = object.kind == ForeignKind::kDirectory;
    if (key == object.path) return Obstacle{&object, !directory};
    if (!directory && key.starts_with(object.path + "/"))
      return Obstacle{&object, is_symlink(object.kind)};
    if (object.path.starts_with(std::string(key) + "/")) return Obstacle{&object, false};
  }
  return std::nullopt;
}

std::string why_no_devices() {
  const auto scratch = ScratchDirectory::create();
  if (!scratch) return to_string(scratch.error());
  const auto made = make_object(scratch->path(), {ForeignKind::kDevice, "device"});
  return made ? "" : to_string(made.error());
}

}  // namespace crashgate::harness
