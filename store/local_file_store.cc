#include "store/local_file_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include "store/directory.h"
#include "store/key.h"
#include "store/listing.h"
#include "store/object.h"
#include "store/recovery.h"
#include "store/system_call.h"
#include "store/temporary.h"

namespace crashgate {
namespace {

const std::string kTemporaries = "tmp";

// Runs one method's body. Its error gets the method's name in front, and `path` where it names
// none; want of memory becomes an error too.
template <typename Body>
auto run(const char* method, std::string_view path, Body body) -> decltype(body()) {
  const auto prefixed = [&](Error error) {
    error.operation = std::string(method) + ": " + error.operation;
    if (error.path.empty()) error.path = path;
    return tl::unexpected(std::move(error));
  };
  try {
    auto result = body();
    if (!result) return prefixed(std::move(result).error());
    return result;
  } catch (const std::exception&) {  // bad_alloc, length_error: the body throws nothing else
    return prefixed(Error{ErrorCode::kIo, ENOMEM, "allocate", {}});
  }
}

tl::unexpected<Error> passed_on(Error error) {
  return tl::unexpected(std::move(error));
}

tl::unexpected<Error> not_an_object() {
  return failure(ErrorCode::kNotAnObject, 0, "fstatat");
}
tl::unexpected<Error> is_directory() {
  return failure(ErrorCode::kConflict, EISDIR, "fstatat");
}

// The directory of a key that is about to be written, its own name durable.
Result<UniqueFd> parent_for_writing(int root, std::string_view path) {
  auto parent = make_durable_directory(root, path);
  // A directory that was there a moment ago, and that somebody other than a store has removed.
  if (!parent && parent.error().code == ErrorCode::kNotFound) parent.error().code = ErrorCode::kIo;
  return parent;
}

// Publishes a new object, or AlreadyExists. Where this process cannot link descriptors, an unnamed
// temporary is of no use here, so the payload is written again under a name.
Result<void> publish_new(int temporaries, int parent, const std::string& name,
                         std::string_view payload) {
  Result<void> published;
  for (const auto naming : {Naming::kMayStayUnnamed, Naming::kNamed}) {
    auto temporary = write_temporary(temporaries, payload, naming);
    if (!temporary) return passed_on(std::move(temporary).error());
    published = temporary->publish_new(parent, name);
    if (published || published.error().code != ErrorCode::kNotFound) return published;
  }
  return failure(published.error().errno_value, published.error().operation);
}

Result<Object> open_object(int root, std::string_view key) {
  const auto parts = parse_key(key);
  if (!parts) return passed_on(parts.error());
  const auto parent = find_directory(root, parts->parent, DirectoryUse::kResolve);
  if (!parent) return passed_on(parent.error());
  if (!*parent) return failure(ErrorCode::kNotFound, ENOENT, "openat2");
  return Object::open((*parent)->get(), parts->name);
}

// The fsync after a change of name. Its failure leaves the outcome open.
Result<void> sync_change(int directory) {
  auto synced = sync_descriptor(directory);
  if (!synced) synced.error().code = ErrorCode::kIndeterminate;
  return synced;
}

}  // namespace

LocalFileStore::LocalFileStore(UniqueFd root, UniqueFd temporaries)
    : root_(std::move(root)), temporaries_(std::move(temporaries)) {}

// mkdir root, fsync of its parent, mkdirat .crashgate and .crashgate/tmp. The last two are not
// synced: after a crash without them they are made again, and what was in them was garbage.
Result<LocalFileStore> LocalFileStore::open(const std::string& root) {
  return run("open", root, [&]() -> Result<LocalFileStore> {
    if (root.empty() || root.find('\0') != std::string::npos) {
      return failure(ErrorCode::kInvalidArgument, 0, "root");
    }
    constexpr mode_t kMode = 0777;  // less the umask
    const bool created = ::mkdir(root.c_str(), kMode) == 0;
    if (!created && errno != EEXIST) return passed_on(error_from_errno(errno, "mkdir", root));
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    UniqueFd directory(retry_interrupted([&] { return ::open(root.c_str(), kFlags); }));
    if (!directory) return passed_on(error_from_errno(errno, "open", root));

    // Whoever created the root may not have synced its name yet. The parent of the directory
    // itself, not of a symlink that `root` may be.
    const UniqueFd parent(
        retry_interrupted([&] { return ::openat(directory.get(), "..", kFlags); }));
    if (!parent && (created || errno != EACCES)) return failure(errno, "openat", "..");
    if (parent) {
      if (auto synced = sync_descriptor(parent.get(), ".."); !synced) {
        return passed_on(std::move(synced).error());
      }
    }

    const std::string reserved(kReservedComponent);
    auto made = make_directory(directory.get(), reserved);
    if (!made) return passed_on(std::move(made).error());
    auto own = open_directory(directory.get(), reserved, DirectoryUse::kResolve);
    if (!own) return passed_on(std::move(own).error());
    made = make_directory(own->get(), kTemporaries);
    if (!made) return passed_on(std::move(made).error());
    auto temporaries = open_directory(own->get(), kTemporaries, DirectoryUse::kRead);
    if (!temporaries) return passed_on(std::move(temporaries).error());
    return LocalFileStore(std::move(directory), std::move(*temporaries));
  });
}

// The order of calls, for the key a/k:
//   openat2 root; openat2 a (or mkdirat a, openat2 a); fsync root       per ancestor, downwards
//   fstatat k
//   openat O_TMPFILE; flock; write; fsync; fstat; linkat to its name in .crashgate/tmp
//   renameat to a/k; fsync a
Result<void> LocalFileStore::put(std::string_view key, std::string_view payload) const {
  return run("put", key, [&]() -> Result<void> {
    const auto parts = parse_key(key);
    if (!parts) return passed_on(parts.error());
    const auto parent = parent_for_writing(root_.get(), parts->parent);
    if (!parent) return passed_on(parent.error());
    const auto occupant = look_up(parent->get(), parts->name);
    if (!occupant) return passed_on(occupant.error());
    if (*occupant == Occupant::kDirectory) return is_directory();
    if (*occupant == Occupant::kForeign) return not_an_object();

    auto temporary = write_temporary(temporaries_.get(), payload, Naming::kNamed);
    if (!temporary) return passed_on(std::move(temporary).error());
    if (auto replaced = temporary->replace(parent->get(), parts->name); !replaced) return replaced;
    return sync_change(parent->get());
  });
}

// The order of calls, for the key a/k:
//   openat2 root; openat2 a (or mkdirat a, openat2 a); fsync root       per ancestor, downwards
//   fstatat k
//   free:  openat O_TMPFILE; flock; write; fsync; fstat; linkat to a/k; fsync a
//   taken: fsync a, so that the winner's name is durable before the loser hears of it
// The early fstatat only spares the loser its writing: linkat decides, and the fstatat after it
// says who had won.
Result<void> LocalFileStore::put_if_absent(std::string_view key, std::string_view payload) const {
  return run("put_if_absent", key, [&]() -> Result<void> {
    const auto parts = parse_key(key);
    if (!parts) return passed_on(parts.error());
    const auto parent = parent_for_writing(root_.get(), parts->parent);
    if (!parent) return passed_on(parent.error());
    // Again where the key was taken and is free by now: AlreadyExists is only said of what is
    // there.
    constexpr int kAttempts = 16;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const auto occupant = look_up(parent->get(), parts->name);
      if (!occupant) return passed_on(occupant.error());
      if (*occupant == Occupant::kDirectory) return is_directory();
      if (*occupant == Occupant::kForeign) return not_an_object();
      if (*occupant == Occupant::kObject) {
        if (auto synced = sync_descriptor(parent->get()); !synced) return synced;
        return failure(ErrorCode::kAlreadyExists, EEXIST, "fstatat");
      }
      auto published = publish_new(temporaries_.get(), parent->get(), parts->name, payload);
      if (published) return sync_change(parent->get());
      if (published.error().code != ErrorCode::kAlreadyExists) return published;
    }
    return failure(EEXIST, "linkat");
  });
}

Result<std::string> LocalFileStore::get(std::string_view key) const {
  return run("get", key, [&]() -> Result<std::string> {
    const auto object = open_object(root_.get(), key);
    if (!object) return passed_on(object.error());
    return object->read(0, object->size());
  });
}

Result<std::string> LocalFileStore::get_range(std::string_view key, std::uint64_t offset,
                                              std::uint64_t length) const {
  return run("get_range", key, [&]() -> Result<std::string> {
    if (!is_valid_key(key)) return passed_on(parse_key(key).error());
    const auto out_of_range = failure(ErrorCode::kOutOfRange, 0, "range");
    if (length > std::numeric_limits<std::uint64_t>::max() - offset) return out_of_range;
    const auto object = open_object(root_.get(), key);
    if (!object) return passed_on(object.error());
    if (offset > object->size()) return out_of_range;
    return object->read(offset, std::min(length, object->size() - offset));
  });
}

// The order of calls: openat2 of the directory; fstatat; unlinkat; fsync of the directory, also
// where the key was absent: another's removal may not be durable yet. Where the directory itself is
// missing, that of the deepest one there is. Between fstatat and unlinkat the object may go
// (ENOENT) and a directory take its name (EISDIR): then it was another that removed it.
Result<void> LocalFileStore::remove(std::string_view key) const {
  return run("remove", key, [&]() -> Result<void> {
    const auto parts = parse_key(key);
    if (!parts) return passed_on(parts.error());
    const auto parent = find_directory(root_.get(), parts->parent, DirectoryUse::kRead);
    if (!parent) return passed_on(parent.error());
    if (!*parent) {
      const auto deepest = open_deepest_directory(root_.get(), parts->parent);
      if (!deepest) return passed_on(deepest.error());
      return sync_descriptor(deepest->get());
    }
    const int directory = (*parent)->get();
    const auto occupant = look_up(directory, parts->name);
    if (!occupant) return passed_on(occupant.error());
    if (*occupant == Occupant::kForeign) return not_an_object();
    if (*occupant != Occupant::kObject) return sync_descriptor(directory);
    if (::unlinkat(directory, parts->name.c_str(), 0) != 0) {
      if (errno != ENOENT && errno != EISDIR) return failure(errno, "unlinkat");
      return sync_descriptor(directory);
    }
    return sync_change(directory);
  });
}

Result<bool> LocalFileStore::exists(std::string_view key) const {
  return run("exists", key, [&]() -> Result<bool> {
    const auto parts = parse_key(key);
    if (!parts) return passed_on(parts.error());
    const auto parent = find_directory(root_.get(), parts->parent, DirectoryUse::kResolve);
    if (!parent) return passed_on(parent.error());
    if (!*parent) return false;
    const auto occupant = look_up((*parent)->get(), parts->name);
    if (!occupant) return passed_on(occupant.error());
    if (*occupant == Occupant::kForeign) return not_an_object();
    return *occupant == Occupant::kObject;
  });
}

Result<std::vector<std::string>> LocalFileStore::list(std::string_view prefix) const {
  return run("list", prefix, [&] { return list_keys(root_.get(), prefix); });
}

Result<Recovery> LocalFileStore::recover() const {
  return run("recover", std::string(kReservedComponent) + "/" + kTemporaries,
             [&] { return remove_abandoned(temporaries_.get()); });
}

}  // namespace crashgate
