// What a directory holds as far as it was made here: each file with its names, and with what stat
// said of it right after. The book-keeping of the Materializer; not thread-safe.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "harness/crash_state/directory_tree.h"
#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

/// An entry of a directory.
struct MadeName {
  FileId directory = faultinject::kNoFile;
  std::string name;
  bool operator==(const MadeName&) const = default;
};

/// What stat says of a file, without its access time.
struct FileStamp {
  ino_t inode = 0;
  mode_t mode = 0;
  nlink_t links = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  off_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

struct MadeFile {
  TreeFile file;                // as on disk, except owners that were not ours to set
  std::vector<MadeName> names;  // none: the root
  bool mode_is_known = true;    // a write or a change of owner may clear S_ISUID and S_ISGID
  FileStamp stamp;
  std::uint64_t seen = 0;  // the Materializer's: the last tree that has it
  bool touched = false;    // its stamp is out of date
  bool was_read = false;   // by a stranger, at some time: may be mapped
  UniqueFd descriptor;     // of a directory, where open
};

bool is_directory(const TreeFile& file);

class MadeTree {
 public:
  /// What ends any of the calls below: thrown, and caught by Materializer::make. What the directory
  /// holds is not known then.
  struct Failed {
    Error error;
  };

  /// Knows nothing before start_afresh().
  explicit MadeTree(std::string path) : path_(std::move(path)) {}

  /// Empties the directory; nothing but its root, which is `root` from now on, is there.
  void start_afresh(FileId root);
  /// Finds out what a stranger has changed since, and removes what is not as it was made.
  void mend();

  FileId root() const { return root_; }
  MadeFile& at(FileId id) { return files_.at(id); }
  /// Null: there is no such file.
  MadeFile* find(FileId id);
  /// Without a name so far.
  void add(FileId id, MadeFile made) { files_.emplace(id, std::move(made)); }
  void set_name(const MadeName& name, FileId id);
  /// Without a name left, the file is gone.
  void unset_name(const MadeName& name);

  /// Its stamp is out of date: stamp() is to be called once all is done to it.
  void touch(FileId id, MadeFile& made);
  /// All that were touched since the last call; some may be gone.
  std::vector<FileId> take_touched() { return std::exchange(touched_, {}); }
  bool has_touched() const { return !touched_.empty(); }
  /// Gives the file times of long ago, and remembers what stat says.
  void stamp(MadeFile& made);

  /// A descriptor through which the directory's entries can be changed; the tree's own. Its mode is
  /// widened if need be, and the directory touched.
  int directory(FileId id);
  /// The parent's descriptor and the name in it: of the root its own, and "".
  std::pair<int, const char*> place_of(const MadeFile& made);
  /// Closes descriptors where many are open. To be called now and then, where none is in use.
  void limit_descriptors();
  /// On disk only. `fd`: of the file, or -1.
  void set_mode(const MadeFile& made, int fd, mode_t mode);

  std::string path_of(const MadeName& name) const;
  [[noreturn]] void fail(int errno_value, const char* call, const MadeName& name) const;
  void expect(int result, const char* call, const MadeName& name) const;

 private:
  void let_us_in(FileId id, MadeFile& made);
  void open_root();
  void remove_unknown(FileId directory, const std::string& name);
  void forget(const MadeName& name);
  bool mend_names(FileId id);
  void mend_files();
  bool is_as_left(MadeFile& made);

  std::string path_;
  FileId root_ = faultinject::kRootFile;
  bool reading_shows_ = false;  // in access times
  std::unordered_map<FileId, MadeFile> files_;
  std::vector<FileId> touched_;
  std::vector<FileId> open_directories_;
};

}  // namespace crashgate::harness
