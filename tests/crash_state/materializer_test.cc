// The directory is read back by a reader of this test's own, with plain stat, read and readlink.
#include "harness/crash_state/materializer.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "harness/check/state_view.h"
#include "harness/plan/scratch_directory.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

using Description = std::map<std::string, std::string>;  // by path: all that a program can tell

std::string describe(mode_t mode, uid_t uid, gid_t gid, const std::string& content,
                     const std::map<std::string, std::string>& attributes,
                     const std::string& first_path) {
  std::string text = std::to_string(mode) + " " + std::to_string(uid) + ":" + std::to_string(gid) +
                     " same as " + first_path + " " + std::to_string(content.size()) +
                     " bytes, hash " + std::to_string(std::hash<std::string>()(content));
  for (const auto& [name, value] : attributes)
    text += "\n" + name + "=" + std::to_string(std::hash<std::string>()(value));
  return text;
}

std::string content_of(const TreeFile& file) {
  if (S_ISLNK(file.mode)) return file.target;
  if (!S_ISREG(file.mode)) return "";
  std::string content(file.size, '\0');
  for (const auto& piece : file.content)
    content.replace(piece.offset, piece.bytes.size(), piece.bytes);
  return content;
}

// Paths are visited in the same order by both.
void describe(const DirectoryTree& tree, FileId id, const std::string& path,
              std::map<FileId, std::string>& first_paths, Description& description) {
  const auto& file = tree.files.at(id);
  const auto& first = first_paths.try_emplace(id, path).first->second;
  description[path] =
      describe(file.mode, file.uid, file.gid, content_of(file), file.attributes, first);
  for (const auto& [name, child] : file.entries)
    describe(tree, child, path + "/" + name, first_paths, description);
}

Description describe(const DirectoryTree& tree) {
  Description description;
  std::map<FileId, std::string> first_paths;
  describe(tree, tree.root, "", first_paths, description);
  return description;
}

std::string read_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  std::string content;
  char buffer[65536];
  ssize_t count = 0;
  while ((count = ::read(file.get(), buffer, sizeof buffer)) > 0)
    content.append(buffer, static_cast<std::size_t>(count));
  return file ? content : "unreadable";
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return {"unreadable"};
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

void describe(const std::string& root, const std::string& path,
              std::map<ino_t, std::string>& first_paths, Description& description) {
  const auto full = root + path;
  struct stat status;
  if (::lstat(full.c_str(), &status) != 0) {
    description[path] = "gone";
    return;
  }
  const auto& first = first_paths.try_emplace(status.st_ino, path).first->second;
  std::string content;
  if (S_ISREG(status.st_mode)) content = read_file(full);
  if (S_ISLNK(status.st_mode)) {
    content.resize(4096);
    content.resize(static_cast<std::size_t>(::readlink(full.c_str(), content.data(), 4096)));
  }
  std::map<std::string, std::string> attributes;
  std::string list(4096, '\0');
  const auto length = ::llistxattr(full.c_str(), list.data(), list.size());
  list.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  for (std::size_t at = 0; at < list.size(); at = list.find('\0', at) + 1) {
    const char* name = list.c_str() + at;
    std::string value(4096, '\0');
    value.resize(
        static_cast<std::size_t>(::lgetxattr(full.c_str(), name, value.data(), value.size())));
    attributes[name] = value;
  }
  description[path] =
      describe(status.st_mode, status.st_uid, status.st_gid, content, attributes, first);
  if (!S_ISDIR(status.st_mode)) return;
  for (const auto& name : names_in(full))
    describe(root, path + "/" + name, first_paths, description);
}

Description describe(const std::string& root) {
  Description description;
  std::map<ino_t, std::string> first_paths;
  describe(root, "", first_paths, description);
  return description;
}

// "": as the tree says.
std::string difference(const DirectoryTree& tree, const std::string& root) {
  const auto expected = describe(tree);
  const auto found = describe(root);
  for (const auto& [path, text] : expected) {
    if (!found.contains(path)) return "missing: " + path;
    if (found.at(path) != text)
      return "at \"" + path + "\": expected\n" + text + "\nfound\n" + found.at(path);
  }
  for (const auto& [path, text] : found) {
    if (!expected.contains(path)) return "left over: " + path;
  }
  return "";
}

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t end) {
  return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
}

const std::string& all_bytes() {
  static const std::string bytes = [] {
    Random random(1);
    std::string result(1 << 16, '\0');
    for (auto& byte : result) byte = static_cast<char>(random());
    return result;
  }();
  return bytes;
}

std::string_view some_bytes(Random& random, std::size_t length) {
  return std::string_view(all_bytes()).substr(below(random, all_bytes().size() - length), length);
}

const std::vector<std::string>& some_names() {
  static const std::vector<std::string> names{"a",
                                              "b",
                                              "c",
                                              "d",
                                              "e f",
                                              "new\nline",
                                              "\xff\xfe",
                                              std::string(255, 'n'),
                                              ".crashgate-parked-3",
                                              "-rf",
                                              "*"};
  return names;
}

// A tree that changes step by step, as a trace's does.
class ChangingTree {
 public:
  ChangingTree(std::uint64_t seed, bool owners) : random_(seed), owners_(owners) {
    auto& root = tree.files[tree.root];
    root.mode = S_IFDIR | 0700;
    set_owner(root);
  }

  void change() {
    switch (below(random_, 16)) {
      case 0:
      case 1:
      case 2:
        return make(S_IFREG);
      case 3:
      case 4:
        return make(S_IFDIR);
      case 5:
        return make(below(random_, 2) == 0 ? S_IFLNK : S_IFIFO);
      case 6:
        return make(S_IFSOCK);
      case 7:
        return remove();
      case 8:
        return link();
      case 9:
      case 10:
        return rename();
      case 11:
        return change_metadata();
      default:
        return change_content();
    }
  }

  /// Files in the root, of 4 KiB each.
  FileId add_file(const std::string& name) {
    const FileId id = next_++;
    auto& file = tree.files[id];
    file.mode = S_IFREG | 0644;
    set_owner(file);
    write(file, 0, some_bytes(random_, 4096));
    tree.files[tree.root].entries[name] = id;
    return id;
  }

  static void write(TreeFile& file, std::uint64_t offset, std::string_view bytes) {
    cut(file, offset, offset + bytes.size());
    file.content.push_back({offset, bytes});
    std::ranges::sort(file.content, {}, &ContentPiece::offset);
    file.size = std::max(file.size, offset + bytes.size());
  }

  static void cut(TreeFile& file, std::uint64_t begin, std::uint64_t end) {
    std::vector<ContentPiece> pieces;
    for (const auto& piece : file.content) {
      const auto piece_end = piece.offset + piece.bytes.size();
      if (piece.offset < begin)
        pieces.push_back({piece.offset, piece.bytes.substr(0, begin - piece.offset)});
      if (piece_end > end) {
        const auto start = std::max(end, piece.offset);
        pieces.push_back({start, piece.bytes.substr(start - piece.offset)});
      }
    }
    file.content = pieces;
  }

  DirectoryTree tree;

 private:
  struct Place {
    FileId directory;
    std::string name;
    FileId file;
  };

  void places_in(FileId directory, std::vector<Place>& all) const {
    for (const auto& [name, file] : tree.files.at(directory).entries) {
      all.push_back({directory, name, file});
      if (S_ISDIR(tree.files.at(file).mode)) places_in(file, all);
    }
  }
  std::vector<Place> places() const {
    std::vector<Place> all;
    places_in(tree.root, all);
    return all;
  }
  FileId some_directory(FileId not_below = faultinject::kNoFile) {
    std::vector<FileId> candidates{tree.root};
    std::function<void(FileId)> walk = [&](FileId id) {
      for (const auto& [name, child] : tree.files.at(id).entries) {
        if (!S_ISDIR(tree.files.at(child).mode) || child == not_below) continue;
        candidates.push_back(child);
        walk(child);
      }
    };
    walk(tree.root);
    return candidates[below(random_, candidates.size())];
  }
  const std::string& some_name() { return some_names()[below(random_, some_names().size())]; }

  void set_owner(TreeFile& file) {
    file.uid = owners_ && below(random_, 4) == 0 ? 1234 : owner;
    file.gid = owners_ && below(random_, 4) == 0 ? 4321 : owner;
  }
  std::uint32_t some_mode() {
    const std::uint32_t modes[] = {0644, 0755, 0600, 0444, 0000, 0500, 04755, 02775, 01777, 0300};
    // The reader of this test has to get in.
    return modes[below(random_, std::size(modes))] | (::geteuid() == 0 ? 0 : 0700);
  }
  void make(std::uint32_t type) {
    const FileId id = next_++;
    tree.files[some_directory()].entries[some_name()] = id;
    auto& file = tree.files[id];
    file.mode = type | (type == S_IFLNK ? 0777 : some_mode());
    set_owner(file);
    if (type == S_IFLNK) file.target = "../target " + std::to_string(id);
    if (type == S_IFREG) write(file, 0, some_bytes(random_, 1 + below(random_, 5000)));
  }
  void remove() {
    const auto all = places();
    if (all.empty()) return;
    const auto& place = all[below(random_, all.size())];
    tree.files[place.directory].entries.erase(place.name);
  }
  void link() {
    const auto all = places();
    if (all.empty()) return;
    const auto& place = all[below(random_, all.size())];
    if (S_ISDIR(tree.files[place.file].mode)) return;
    tree.files[some_directory()].entries[some_name()] = place.file;
  }
  void rename() {
    const auto all = places();
    if (all.empty()) return;
    const auto& place = all[below(random_, all.size())];
    auto& entries = tree.files[some_directory(place.file)].entries;
    const auto name = some_name();
    const auto replaced = entries.find(name);
    if (below(random_, 3) == 0 && replaced != entries.end() &&
        !S_ISDIR(tree.files[replaced->second].mode) && !S_ISDIR(tree.files[place.file].mode)) {
      std::swap(replaced->second, tree.files[place.directory].entries[place.name]);
      return;
    }
    tree.files[place.directory].entries.erase(place.name);
    entries[name] = place.file;
  }
  void change_metadata() {
    const auto all = places();
    auto& file =
        tree.files[all.empty() || below(random_, 8) == 0 ? tree.root
                                                         : all[below(random_, all.size())].file];
    if (S_ISLNK(file.mode)) return;
    if (S_ISREG(file.mode) || S_ISDIR(file.mode)) {
      const std::string name = below(random_, 2) == 0 ? "user.one" : "user.two";
      if (below(random_, 3) == 0) {
        file.attributes.erase(name);
      } else {
        file.attributes[name] = std::string(some_bytes(random_, below(random_, 20)));
      }
    }
    if (below(random_, 2) == 0) file.mode = (file.mode & S_IFMT) | some_mode();
    if (below(random_, 2) == 0) set_owner(file);
  }
  void change_content() {
    std::vector<FileId> files;
    for (const auto& place : places()) {
      if (S_ISREG(tree.files[place.file].mode)) files.push_back(place.file);
    }
    if (files.empty()) return;
    auto& file = tree.files[files[below(random_, files.size())]];
    const std::uint64_t offset = below(random_, 20) == 0 ? 300'000 : below(random_, 9000);
    const std::uint64_t length = 1 + below(random_, 2000);
    switch (below(random_, 5)) {
      case 0:
        cut(file, offset, UINT64_MAX);
        file.size = offset;
        break;
      case 1:
        cut(file, offset, offset + length);
        break;
      default:
        write(file, offset, some_bytes(random_, length));
    }
  }

  Random random_;
  bool owners_;
  FileId next_ = 2;

 public:
  std::uint32_t owner = ::geteuid();
};

struct Place {
  std::string path;
  mode_t mode;
};

void places_in(const std::string& path, std::vector<Place>& all) {
  for (const auto& name : names_in(path)) {
    struct stat status;
    const auto child = path + "/" + name;
    if (::lstat(child.c_str(), &status) != 0) continue;
    all.push_back({child, status.st_mode});
    if (S_ISDIR(status.st_mode)) places_in(child, all);
  }
}

bool write_at(const std::string& path, std::string_view bytes, off_t offset, int flags = 0) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | flags, 0644));
  return file && ::pwrite(file.get(), bytes.data(), bytes.size(), offset) >= 0;
}

// What moves no modification time: the page is read through the mapping before it is written.
bool write_mapped(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0 || status.st_size == 0) return false;
  void* memory = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ | PROT_WRITE,
                        MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return false;
  volatile char* byte = static_cast<char*>(memory) + status.st_size / 2;
  *byte = static_cast<char>(*byte ^ 1);
  ::munmap(memory, static_cast<std::size_t>(status.st_size));
  return true;
}

// One change that a careless checker might make. What does not work is not done.
void be_a_stranger(Random& random, const std::string& root) {
  std::vector<Place> all{{root, S_IFDIR}};
  places_in(root, all);
  const auto& place = all[below(random, all.size())];
  const auto& other = all[below(random, all.size())];
  const auto directory = S_ISDIR(place.mode) ? place.path : root;
  const auto name = directory + "/" + some_names()[below(random, some_names().size())];
  const bool is_file = S_ISREG(place.mode);
  switch (below(random, 16)) {
    case 0:
    case 1:
      if (is_file) write_at(place.path, "X", static_cast<off_t>(below(random, 6000)));
      break;
    case 2:
      if (is_file) (void)::truncate(place.path.c_str(), static_cast<off_t>(below(random, 6000)));
      break;
    case 3:
    case 4:
      if (is_file) write_mapped(place.path);
      break;
    case 5:
      if (!S_ISLNK(place.mode)) (void)::chmod(place.path.c_str(), 0);
      break;
    case 6:
      (void)::rename(place.path.c_str(), name.c_str());
      break;
    case 7:
      (void)::unlink(place.path.c_str());
      break;
    case 8:
      if (::mkdir(name.c_str(), 0000) == 0) write_at(name + "/inside", "inside", 0, O_CREAT);
      break;
    case 9:
      if (is_file && ::link(place.path.c_str(), name.c_str()) == 0) {
        write_at(name, "through another name", 0);
        (void)::unlink(name.c_str());
      }
      break;
    case 10:
      write_at(name, "new", 0, O_CREAT);
      break;
    case 11:
      (void)::lsetxattr(place.path.c_str(), "user.stranger", "x", 1, 0);
      break;
    case 12:
      if (place.path != root && !S_ISDIR(place.mode) && ::unlink(place.path.c_str()) == 0)
        (void)::symlink("/etc", place.path.c_str());
      break;
    case 13:
      (void)::syscall(SYS_renameat2, AT_FDCWD, place.path.c_str(), AT_FDCWD, other.path.c_str(),
                      RENAME_EXCHANGE);
      break;
    case 14:
      if (is_file) {
        struct stat status;
        (void)::stat(place.path.c_str(), &status);
        write_at(place.path, "times restored", 0);
        const timespec times[2] = {status.st_atim, status.st_mtim};
        (void)::utimensat(AT_FDCWD, place.path.c_str(), times, 0);
      }
      break;
    default:
      if (is_file) (void)read_file(place.path);
  }
}

class MaterializerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = ScratchDirectory::create();
    ASSERT_TRUE(made) << to_string(made.error());
    scratch_.emplace(std::move(*made));
    directory_ = scratch_->path() + "/state";
    ASSERT_EQ(::mkdir(directory_.c_str(), 0700), 0);
  }

  void make(Materializer& materializer, const DirectoryTree& tree) {
    const auto made = materializer.make(tree);
    ASSERT_TRUE(made) << to_string(made.error());
    ASSERT_EQ(difference(tree, directory_), "");
  }

  Materializer materializer() {
    auto created = Materializer::create(directory_);
    EXPECT_TRUE(created) << to_string(created.error());
    return std::move(*created);
  }

  struct stat status_of(const std::string& name) {
    struct stat status {};
    EXPECT_EQ(::lstat((directory_ + "/" + name).c_str(), &status), 0) << name;
    return status;
  }

  std::optional<ScratchDirectory> scratch_;
  std::string directory_;
};

// A run of trees, each made from the one before, with strangers' changes in between.
void run_of_trees(std::uint64_t seed, bool strangers, uid_t as_user) {
  auto scratch = ScratchDirectory::create();
  RC_ASSERT(scratch.has_value());
  const auto directory = scratch->path() + "/state";
  RC_ASSERT(::mkdir(directory.c_str(), 0700) == 0);
  const bool is_root = ::geteuid() == 0;
  const auto become = [&](uid_t uid) {
    if (is_root) RC_ASSERT(::seteuid(uid) == 0);
  };
  if (is_root && as_user != 0) {
    RC_ASSERT(::chmod(scratch->path().c_str(), 0755) == 0);
    RC_ASSERT(::chown(directory.c_str(), as_user, ::getegid()) == 0);
  }
  become(as_user);
  auto materializer = Materializer::create(directory);
  become(0);
  RC_ASSERT(materializer.has_value());
  Random random(seed);
  std::uint64_t trees = 0;
  std::optional<ChangingTree> changing;
  std::vector<DirectoryTree> earlier;
  for (int i = 0; i < 25; ++i) {
    if (!changing || below(random, 12) == 0) {
      become(as_user);
      changing.emplace(seed + 1000 * ++trees, is_root && as_user == 0);
      changing->tree.files[changing->tree.root].gid = ::getegid();
      become(0);
    }
    for (std::size_t steps = below(random, 12); steps > 0; --steps) changing->change();
    auto tree = changing->tree;
    if (as_user != 0) {
      for (auto& [id, file] : tree.files) {
        file.uid = as_user;
        file.gid = ::getegid();
      }
    }
    if (!earlier.empty() && below(random, 4) == 0) tree = earlier[below(random, earlier.size())];
    become(as_user);
    const auto made = materializer->make(tree);
    become(0);
    if (!made) RC_FAIL(to_string(made.error()));
    const auto differs = difference(tree, directory);
    if (!differs.empty()) RC_FAIL(differs);
    earlier.push_back(tree);
    if (strangers && below(random, 3) != 0) {
      become(as_user);
      for (std::size_t changes = below(random, 5); changes > 0; --changes)
        be_a_stranger(random, directory);
      become(0);
      materializer->verify_before_next();
    }
  }
}

TEST_F(MaterializerTest, MakesEveryTreeOfARun) {
  EXPECT_TRUE(rc::check([](std::uint64_t seed) { run_of_trees(seed, false, ::geteuid()); }));
}

TEST_F(MaterializerTest, MendsWhatStrangersChange) {
  EXPECT_TRUE(rc::check([](std::uint64_t seed) { run_of_trees(seed, true, ::geteuid()); }));
}

TEST_F(MaterializerTest, NeedsNoPrivileges) {
  if (::geteuid() != 0) GTEST_SKIP() << "the other tests run without privileges already";
  EXPECT_TRUE(rc::check([](std::uint64_t seed) { run_of_trees(seed, true, 65534); }));
}

TEST_F(MaterializerTest, LeavesWhatDoesNotDiffer) {
  ChangingTree changing(1, false);
  const auto file = changing.add_file("file");
  changing.add_file("other");
  auto made = materializer();
  make(made, changing.tree);
  const auto before = status_of("other");
  const auto inode = status_of("file").st_ino;
  ChangingTree::write(changing.tree.files[file], 512, std::string_view(all_bytes()).substr(7, 512));
  make(made, changing.tree);
  EXPECT_EQ(status_of("file").st_ino, inode);
  EXPECT_EQ(status_of("other").st_ino, before.st_ino);
  EXPECT_EQ(status_of("other").st_ctim.tv_nsec, before.st_ctim.tv_nsec);
}

TEST_F(MaterializerTest, MovesAFileInsteadOfWritingItAnew) {
  ChangingTree changing(1, false);
  const auto file = changing.add_file("file");
  auto made = materializer();
  make(made, changing.tree);
  const auto inode = status_of("file").st_ino;
  auto& entries = changing.tree.files[changing.tree.root].entries;
  entries.clear();
  entries["elsewhere"] = file;
  make(made, changing.tree);
  EXPECT_EQ(status_of("elsewhere").st_ino, inode);
}

TEST_F(MaterializerTest, KeepsHoles) {
  ChangingTree changing(1, false);
  const auto file = changing.add_file("file");
  changing.tree.files[file].size = std::uint64_t{1} << 40;
  auto made = materializer();
  ASSERT_TRUE(made.make(changing.tree));
  EXPECT_EQ(status_of("file").st_size, off_t{1} << 40);
  EXPECT_LE(status_of("file").st_blocks * 512, 8192);
  // Its content is compared too, since we have mapped it; the hole is not read for that.
  ASSERT_TRUE(write_mapped(directory_ + "/file"));
  made.verify_before_next();
  ASSERT_TRUE(made.make(changing.tree));
  const auto sparse = status_of("file");
  EXPECT_LE(sparse.st_blocks * 512, 8192);
}

TEST_F(MaterializerTest, NoticesAMappedWriteThatMovesNoTime) {
  ChangingTree changing(1, false);
  changing.add_file("file");
  auto made = materializer();
  for (int i = 0; i < 3; ++i) {
    make(made, changing.tree);
    const auto before = status_of("file");
    ASSERT_TRUE(write_mapped(directory_ + "/file"));
    EXPECT_EQ(status_of("file").st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    made.verify_before_next();
  }
  make(made, changing.tree);
}

TEST_F(MaterializerTest, GivesADirectoryThatIsNamedTwiceItsFirstNameOnly) {
  ChangingTree changing(1, false);
  const auto file = changing.add_file("file");
  auto& files = changing.tree.files;
  files[100].mode = S_IFDIR | 0755;
  files[100].uid = files[100].gid = changing.owner;
  files[100].entries["inside"] = file;
  files[changing.tree.root].entries["one"] = 100;
  auto expected = changing.tree;
  files[changing.tree.root].entries["two"] = 100;
  files[100].entries["itself"] = 100;
  auto made = materializer();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(made.make(changing.tree));
    EXPECT_EQ(difference(expected, directory_), "");
  }
}

TEST_F(MaterializerTest, RemakesARootThatWasReplaced) {
  ChangingTree changing(1, false);
  changing.add_file("file");
  auto made = materializer();
  make(made, changing.tree);
  ASSERT_TRUE(remove_tree(directory_));
  made.verify_before_next();
  make(made, changing.tree);
}

TEST_F(MaterializerTest, FollowsNoSymlinkOut) {
  ASSERT_EQ(::mkdir((scratch_->path() + "/outside").c_str(), 0755), 0);
  ASSERT_TRUE(write_at(scratch_->path() + "/outside/file", "mine", 0, O_CREAT));
  ChangingTree changing(1, false);
  const auto file = changing.add_file("file");
  auto& files = changing.tree.files;
  files[100].mode = S_IFDIR | 0755;
  files[100].uid = files[100].gid = changing.owner;
  files[100].entries["file"] = file;
  files[changing.tree.root].entries["directory"] = 100;
  auto made = materializer();
  make(made, changing.tree);
  ASSERT_TRUE(remove_tree(directory_ + "/directory"));
  ASSERT_EQ(::symlink("../outside", (directory_ + "/directory").c_str()), 0);
  made.verify_before_next();
  ChangingTree::write(files[file], 0, "changed");
  make(made, changing.tree);
  EXPECT_EQ(read_file(scratch_->path() + "/outside/file"), "mine");
  EXPECT_EQ(names_in(scratch_->path() + "/outside").size(), 1u);
}

TEST_F(MaterializerTest, SaysThatTheFileSystemIsFullAndRecovers) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto view = StateView::create(directory_, 1 << 20);
    if (!view) ::_exit(2);
    ChangingTree changing(1, false);
    const auto file = changing.add_file("file");
    auto created = Materializer::create(directory_);
    if (!created || !created->make(changing.tree)) ::_exit(3);
    auto full = changing.tree;
    const std::string much(4 << 20, 'x');
    ChangingTree::write(full.files[file], 0, much);
    const auto made = created->make(full);
    if (made || made.error().code != ErrorCode::kNoSpace ||
        made.error().path != directory_ + "/file") {
      ::_exit(4);
    }
    if (!created->make(changing.tree)) ::_exit(5);
    ::_exit(difference(changing.tree, directory_).empty() ? 0 : 6);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no private mounts here";
  EXPECT_EQ(status, 0);
}

TEST_F(MaterializerTest, WantsAnEmptyDirectory) {
  ASSERT_TRUE(write_at(directory_ + "/file", "mine", 0, O_CREAT));
  EXPECT_FALSE(Materializer::create(directory_));
  EXPECT_FALSE(Materializer::create(directory_ + "/absent"));
}

TEST(Materializer, MakesTreesDeeperThanThereAreDescriptors) {
  constexpr FileId kDepth = 1100;
  auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch.has_value());
  DirectoryTree empty;
  empty.root = 1;
  empty.files[1].mode = S_IFDIR | 0755;
  DirectoryTree deep = empty;
  for (FileId id = 1; id < kDepth; ++id) {
    deep.files[id + 1].mode = S_IFDIR | 0755;
    deep.files[id].entries["d"] = id + 1;
  }
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{256, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  auto materializer = Materializer::create(scratch->path());
  for (const DirectoryTree* tree : {&deep, &empty, &deep}) {
    const auto made = materializer->make(*tree);
    EXPECT_TRUE(made.has_value()) << (made ? "" : to_string(made.error()));
    materializer->verify_before_next();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(difference(deep, scratch->path()), "");
}

}  // namespace
}  // namespace crashgate::harness
