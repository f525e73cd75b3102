// One traced thread: its memory, its open files, its paths. It must be stopped while it is asked.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {

/// What a descriptor of the traced thread stands for. `fd` is of the same open file description
/// (`duplicate`), or, where the kernel or the privileges do not allow that, an O_PATH descriptor of
/// the same file. Not to be kept longer than the call under way: it would delay what the last close
/// of an open file description does.
struct OpenFile {
  UniqueFd fd;
  struct stat status = {};
  int flags = 0;  // F_GETFL
  bool duplicate = false;
};

/// Where a path leads, as the kernel would go for the traced thread.
struct ResolvedPath {
  UniqueFd parent;  // O_PATH; empty where the path names no directory entry
  struct stat parent_status = {};
  std::string name;  // in `parent`; empty for ".", "..", "/" and for links of /proc
  std::optional<struct stat> target;  // what it names now
  UniqueFd object;                    // O_PATH, of the target; only where `parent` is empty

  /// What it names at this moment.
  std::optional<struct stat> look() const;
};

class Tracee {
 public:
  Tracee(pid_t thread, pid_t process) : thread_(thread), process_(process) {}

  pid_t thread() const { return thread_; }
  pid_t process() const { return process_; }

  /// Nothing: no such descriptor.
  std::optional<OpenFile> open_file(int number);
  /// The offset of the open file.
  std::optional<std::uint64_t> position(int number, const OpenFile& file) const;

  /// `directory` is a descriptor of the thread or AT_FDCWD. `follow`: a symlink as the last
  /// component is followed (a trailing slash does that too). Nothing: the call is going to fail.
  std::optional<ResolvedPath> resolve(int directory, std::string path, bool follow);

  /// False where a part cannot be read.
  bool read_memory(std::uint64_t address, void* to, std::size_t size) const;
  /// A NUL-terminated string, at most PATH_MAX bytes.
  std::optional<std::string> read_string(std::uint64_t address) const;

  std::string proc_path(const char* below) const;

 private:
  std::optional<UniqueFd> walk(UniqueFd start, std::string path, bool follow_last);

  pid_t thread_;
  pid_t process_;
  UniqueFd pidfd_;
  bool can_duplicate_ = true;
};

}  // namespace crashgate::faultinject
