// An object store by ordinary means, correct and slow; the base of the known-bad stores. Each step
// that programmers classically get wrong is virtual: a known-bad store replaces one, and its
// corrected twin replaces it by the fix (or by nothing, where the fix is what is done here).
//
// put:           temporary, write, fsync, rename over the key, fsync of the directory.
// put_if_absent: the same with link, which the kernel refuses where the name is taken.
//
// A temporary has a random name in `.simple/` and is locked by its writer until it is published or
// given up, so recover can tell a dead writer's from a living one's. A writer may be preempted
// between creating and locking it; it looks again, after locking, whether the name is still its
// own. Ancestor directories are created and made durable before the publication, so only the last
// fsync can fail after it: Indeterminate.
//
// Contract of the operations: store/local_file_store.h. Not thread-safe.
#pragma once

#include <sys/file.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/store_under_test.h"
#include "tests/known_bugs/file_steps.h"

namespace crashgate::known_bugs {

/// A file in `.simple/`, open for writing and locked; unlinked at the end of its life unless its
/// name was given away.
class Temporary {
 public:
  Temporary(int directory, std::string name, UniqueFd fd)
      : directory_(directory), name_(std::move(name)), fd_(std::move(fd)) {}
  Temporary(Temporary&& other) noexcept
      : directory_(std::exchange(other.directory_, -1)),
        name_(std::move(other.name_)),
        fd_(std::move(other.fd_)) {}
  Temporary& operator=(Temporary&&) = delete;
  ~Temporary();

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }
  /// The name is gone or is not ours: nothing is left to unlink.
  void forget_name() { directory_ = -1; }

 private:
  int directory_;
  std::string name_;
  UniqueFd fd_;  // closed, and so unlocked, after the name is gone
};

class SimpleStore : public harness::StoreUnderTest {
 public:
  struct Directories {
    UniqueFd root;
    UniqueFd temporaries;
  };
  static Result<Directories> open_directories(const std::string& root);
  explicit SimpleStore(Directories directories) : directories_(std::move(directories)) {}

  Result<void> put(std::string_view key, std::string_view payload) final;
  Result<void> put_if_absent(std::string_view key, std::string_view payload) final;
  Result<std::string> get(std::string_view key) final;
  Result<std::string> get_range(std::string_view key, std::uint64_t offset,
                                std::uint64_t length) final;
  Result<void> remove(std::string_view key) final;
  Result<bool> exists(std::string_view key) final;
  Result<std::vector<std::string>> list(std::string_view prefix) final;
  Result<void> recover() final;

 protected:
  /// How often a step is tried that others may make fail by their own success.
  static constexpr int kTries = 1000;

  /// The place of a key that is about to be written, the names of its ancestors durable.
  virtual Result<Place> prepare_place(std::string_view key);
  /// put and put_if_absent, once the key's directory exists and is durable.
  virtual Result<void> replace(const Place& place, std::string_view payload);
  virtual Result<void> create(const Place& place, std::string_view payload);
  /// A new temporary for an object that will be published at `place`.
  virtual Result<Temporary> make_temporary(const Place& place);
  virtual Result<void> write_payload(int fd, std::string_view payload, std::string_view key);
  virtual Result<void> sync_payload(int fd, std::string_view key);
  /// Makes a publication durable; Indeterminate where that fails.
  virtual Result<void> settle_publication(const Place& place);
  /// Makes a removal durable, one's own or another's; Indeterminate where that fails.
  virtual Result<void> settle_removal(const Place& place);
  /// get and get_range: the object for reading. What it is, they look at once it is open.
  virtual Result<UniqueFd> open_object_at(const Place& place);
  virtual Result<bool> object_exists(std::string_view key);
  /// list: a directory, its path empty or with a slash at the end. Empty where there is none.
  virtual Result<std::optional<Place>> find_listed_directory(std::string_view path);
  /// What an entry is that a directory listing has just shown.
  virtual Result<Kind> kind_of_entry(int directory, const std::string& name);
  /// recover, for one name in `.simple/`.
  virtual Result<void> recover_temporary(const std::string& name);

  /// `flags` beside those that any opening for reading has.
  static Result<UniqueFd> open_for_reading(const Place& place, int flags);
  /// A temporary that holds the whole payload, synced.
  Result<Temporary> stage(const Place& place, std::string_view payload);
  /// Opens and locks a file in `.simple/`. Empty where that has to be tried again: the name is
  /// taken (O_EXCL), or went to somebody else before the lock was ours.
  Result<std::optional<Temporary>> open_temporary(const std::string& name, int flags,
                                                  int lock_operation);
  /// Unlinks a file in `.simple/` if its lock can be had; with LOCK_NB, leaves it alone otherwise.
  Result<void> remove_abandoned(const std::string& name, int lock_operation);
  /// Success where an object may be stored at the place; kConflict or kNotAnObject where a
  /// directory or something else stands there.
  Result<Kind> check_occupant(const Place& place);
  /// Syncs the key's directory after its name was changed; Indeterminate where that fails.
  Result<void> settle(const Place& place);
  /// What put_if_absent tells a loser, once the winner's name is durable.
  Result<void> lose(const Place& place);

  int root() const { return directories_.root.get(); }
  int temporaries() const { return directories_.temporaries.get(); }

 private:
  Result<UniqueFd> open_object(std::string_view key);

  Directories directories_;
};

/// For a registration's `open`.
template <typename Store>
Result<std::unique_ptr<harness::StoreUnderTest>> open_store(const std::string& root) {
  auto directories = SimpleStore::open_directories(root);
  if (!directories) return tl::unexpected(directories.error());
  return std::make_unique<Store>(*std::move(directories));
}

}  // namespace crashgate::known_bugs
