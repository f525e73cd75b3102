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
#include "harness/crash_state/materializer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "harness/crash_state/file_content.h"
#include "harness/crash_state/made_tree.h"
#include "store/directory_entries.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

// A name that comes or goes, and of what file.
struct NamedFile {
  MadeName name;
  FileId file = faultinject::kNoFile;
};

// Whether one can become the other by changes.
bool same_kind(const TreeFile& one, const TreeFile& other) {
  return (one.mode & S_IFMT) == (other.mode & S_IFMT) && one.target == other.target;
}

bool same_metadata(const TreeFile& one, const TreeFile& other) {
  return one.mode == other.mode && one.uid == other.uid && one.gid == other.gid &&
         one.attributes == other.attributes;
}

}  // namespace

struct Materializer::State {
  explicit State(const std::string& directory) : made_(directory) {}

  Result<void> make(const DirectoryTree& tree);

  bool unknown = true;             // what the directory holds
  bool open_to_strangers = false;  // since the last make()

 private:
  struct Difference {
    std::vector<NamedFile> going;   // in an order in which they can go
    std::vector<NamedFile> coming;  // a directory before what it holds
    std::vector<FileId> changed;    // of what is there before and after
  };

  bool compare(const DirectoryTree& tree, Difference& difference);
  void add_going(const NamedFile& going, std::vector<NamedFile>& all);
  void park(std::vector<NamedFile>& going, const DirectoryTree& tree);
  void remove(const NamedFile& going);
  void add(const NamedFile& coming, const TreeFile& file);
  void create(const NamedFile& coming, const TreeFile& file);
  void change(FileId id, const TreeFile& file, UniqueFd descriptor);
  void set_metadata(MadeFile& made, const TreeFile& file, int fd);
  void set_attributes(MadeFile& made, const TreeFile& file);
  void finish(const DirectoryTree& tree);

  MadeTree made_;
  std::vector<std::shared_ptr<const void>> owned_;  // bytes that trees brought along
  std::uint64_t generation_ = 0;
  std::unordered_set<FileId> parked_;
};

// -- Comparison -----------------------------------------------------------------------------------

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
  const auto visit = [&](FileId id, const MadeName& name) {
    const auto found = tree.files.find(id);
    if (found == tree.files.end()) {
      throw MadeTree::Failed{{ErrorCode::kInvalidArgument, 0,
                              "make a crash state: a name of no file", made_.path_of(name)}};
    }
    const TreeFile& file = found->second;
    MadeFile* made = made_.find(id);
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
void Materializer::State::add_going(const NamedFile& going, std::vector<NamedFile>& all) {
  const MadeFile& made = made_.at(going.file);
  if (is_directory(made.file) && made.seen != generation_) {
    for (const auto& [name, child] : made.file.entries) add_going({{going.file, name}, child}, all);
  }
  all.push_back(going);
}

// -- Changes --------------------------------------------------------------------------------------

void Materializer::State::park(std::vector<NamedFile>& going, const DirectoryTree& tree) {
  parked_.clear();
  std::unordered_map<FileId, std::size_t> names_going;
  for (const auto& one : going) ++names_going[one.file];
  const auto& root_entries = tree.files.at(made_.root()).entries;
  std::erase_if(going, [&](const NamedFile& one) {
    auto& made = made_.at(one.file);
    auto& count = names_going.at(one.file);
    if (made.seen != generation_ || count != made.names.size()) return false;
    made_.limit_descriptors();
    std::string parked = ".crashgate-parked-" + std::to_string(one.file);
    while (root_entries.contains(parked) || made_.at(made_.root()).file.entries.contains(parked))
      parked += '-';
    if (is_directory(made.file))
      made_.directory(one.file);  // it must be ours to write: its ".." changes
    made_.expect(::renameat(made_.directory(one.name.directory), one.name.name.c_str(),
                            made_.directory(made_.root()), parked.c_str()),
                 "rename", one.name);
    made_.set_name({made_.root(), parked}, one.file);
    made_.unset_name(one.name);
    parked_.insert(one.file);
    count = 0;  // its other names go as any
    return true;
  });
}

void Materializer::State::remove(const NamedFile& going) {
  made_.limit_descriptors();
  const int flags = is_directory(made_.at(going.file).file) ? AT_REMOVEDIR : 0;
  made_.expect(::unlinkat(made_.directory(going.name.directory), going.name.name.c_str(), flags),
               "unlink", going.name);
  made_.unset_name(going.name);
}

void Materializer::State::add(const NamedFile& coming, const TreeFile& file) {
  made_.limit_descriptors();
  const MadeFile* made = made_.find(coming.file);
  if (made == nullptr) {
    create(coming, file);
    return;
  }
  const MadeName source = made->names.front();
  const bool parked = parked_.erase(coming.file) != 0;
  const int from = made_.directory(source.directory);
  const int to = made_.directory(coming.name.directory);
  if (parked) {
    made_.expect(::renameat(from, source.name.c_str(), to, coming.name.name.c_str()), "rename",
                 coming.name);
  } else {
    made_.expect(::linkat(from, source.name.c_str(), to, coming.name.name.c_str(), 0), "link",
                 coming.name);
  }
  made_.set_name(coming.name, coming.file);
  if (parked) made_.unset_name(source);
}

void Materializer::State::create(const NamedFile& coming, const TreeFile& file) {
  const int parent = made_.directory(coming.name.directory);
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
      made_.expect(::mkdirat(parent, name, S_IRWXU), "mkdir", coming.name);
      break;
    case S_IFREG:
      descriptor = UniqueFd(::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!descriptor) made_.fail(errno, "create", coming.name);
      break;
    case S_IFLNK:
      made.file.mode = file.mode;  // a symlink has none
      made.file.target = file.target;
      made_.expect(::symlinkat(file.target.c_str(), parent, name), "symlink", coming.name);
      break;
    default:
      made_.expect(::mknodat(parent, name, made.file.mode, 0), "mknod", coming.name);
  }
  made_.add(coming.file, std::move(made));
  made_.set_name(coming.name, coming.file);
  change(coming.file, file, std::move(descriptor));
}

// `descriptor`: of a regular file, open for writing, or none.
void Materializer::State::change(FileId id, const TreeFile& file, UniqueFd descriptor) {
  MadeFile& made = made_.at(id);
  made_.touch(id, made);
  if (is_directory(file)) return;  // finish() does it
  const bool writes = S_ISREG(file.mode) && !same_content(made.file, file);
  const mode_t needed = S_IRUSR | S_IWUSR;
  if ((made.file.mode & needed) != needed && (writes || made.file.attributes != file.attributes)) {
    made.file.mode |= needed;
    made_.set_mode(made, descriptor.get(), made.file.mode);
  }
  if (writes) {
    const auto [parent, name] = made_.place_of(made);
    if (!descriptor)
      descriptor = UniqueFd(::openat(parent, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!descriptor) made_.fail(errno, "open", made.names.front());
    const int failed = write_difference(descriptor.get(), made.file, file);
    if (failed != 0) made_.fail(failed, "write", made.names.front());
    made.file.size = file.size;
    made.file.content = file.content;
    made.mode_is_known = false;
  }
  set_metadata(made, file, descriptor.get());
}

void Materializer::State::set_metadata(MadeFile& made, const TreeFile& file, int fd) {
  const auto name_of = [&] { return made.names.empty() ? MadeName{} : made.names.front(); };
  if (made.file.uid != file.uid || made.file.gid != file.gid) {
    const auto [parent, name] = made_.place_of(made);
    const int changed =
        ::fchownat(parent, name, file.uid, file.gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
    // Not root, or root of a user namespace that does not know the owner.
    if (changed != 0 && errno != EPERM && errno != EINVAL) made_.fail(errno, "chown", name_of());
    made.file.uid = file.uid;
    made.file.gid = file.gid;
    made.mode_is_known = false;
  }
  if (made.file.attributes != file.attributes) set_attributes(made, file);
  const bool has_mode = made.file.mode == file.mode && made.mode_is_known;
  if (!has_mode && !S_ISLNK(file.mode)) made_.set_mode(made, fd, file.mode);
  made.file.mode = file.mode;
  made.mode_is_known = true;
}

void Materializer::State::set_attributes(MadeFile& made, const TreeFile& file) {
  const auto [parent, name] = made_.place_of(made);
  const auto place = "/proc/self/fd/" + std::to_string(parent) + "/" + name;
  const MadeName own_name = made.names.empty() ? MadeName{} : made.names.front();
  for (const auto& [attribute, value] : made.file.attributes) {
    if (file.attributes.contains(attribute)) continue;
    made_.expect(::lremovexattr(place.c_str(), attribute.c_str()), "removexattr", own_name);
  }
  for (const auto& [attribute, value] : file.attributes) {
    const auto before = made.file.attributes.find(attribute);
    if (before != made.file.attributes.end() && before->second == value) continue;
    made_.expect(::lsetxattr(place.c_str(), attribute.c_str(), value.data(), value.size(), 0),
                 "setxattr", own_name);
  }
  made.file.attributes = file.attributes;
}

// Files first, then directories, children before parents. Reaching a child may widen its parent's
// mode once more: hence rounds.
void Materializer::State::finish(const DirectoryTree& tree) {
  std::vector<std::pair<std::size_t, FileId>> directories;  // with their depths
  while (made_.has_touched()) {
    directories.clear();
    for (const FileId id : made_.take_touched()) {
      MadeFile* made = made_.find(id);
      if (made == nullptr || !made->touched) continue;
      if (is_directory(made->file)) {
        std::size_t depth = 0;
        for (const auto* at = made; !at->names.empty(); ++depth)
          at = &made_.at(at->names.front().directory);
        directories.emplace_back(depth, id);
        made->touched = false;
      } else {
        made_.limit_descriptors();
        made_.stamp(*made);
      }
    }
    std::ranges::sort(directories, std::greater());
    for (const auto& [depth, id] : directories) {
      made_.limit_descriptors();
      MadeFile& made = made_.at(id);
      const int fd = made_.directory(id);
      set_metadata(made, tree.files.at(id), fd);
      made_.stamp(made);
    }
  }
}

// -- All of it ------------------------------------------------------------------------------------

Result<void> Materializer::State::make(const DirectoryTree& tree) {
  try {
    if (tree.root != made_.root()) unknown = true;
    if (tree.owned && (owned_.empty() || owned_.back() != tree.owned)) owned_.push_back(tree.owned);
    const bool verify = std::exchange(open_to_strangers, false);
    const bool afresh = std::exchange(unknown, true);
    if (afresh) {
      made_.start_afresh(tree.root);
    } else if (verify) {
      made_.mend();
    }
    Difference difference;
    if (!compare(tree, difference)) {
      made_.start_afresh(tree.root);
      difference = {};
      compare(tree, difference);
    }
    park(difference.going, tree);
    for (const auto& going : difference.going) remove(going);
    for (const auto& coming : difference.coming) add(coming, tree.files.at(coming.file));
    for (const FileId id : difference.changed) {
      made_.limit_descriptors();
      change(id, tree.files.at(id), UniqueFd());
    }
    finish(tree);
    unknown = false;
  } catch (const MadeTree::Failed& failed) {
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
