#include "tests/known_bugs/simple_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace crashgate::known_bugs {

Temporary::~Temporary() {
  if (directory_ >= 0) unlinkat(directory_, name_.c_str(), 0);  // else recover will
}

Result<SimpleStore::Directories> SimpleStore::open_directories(const std::string& root) {
  UniqueFd directory(
      uninterrupted([&] { return open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!directory) return failure(errno, "open", root);
  const std::string reserved(kReserved);
  if (mkdirat(directory.get(), reserved.c_str(), 0755) != 0 && errno != EEXIST) {
    return failure(errno, "mkdirat", reserved);
  }
  auto temporaries = open_directory_at(directory.get(), reserved);
  if (!temporaries) return tl::unexpected(temporaries.error());
  return Directories{std::move(directory), *std::move(temporaries)};
}

Result<void> SimpleStore::put(std::string_view key, std::string_view payload) {
  if (auto valid = check_key(key); !valid) return valid;
  auto place = prepare_place(key);
  if (!place) return tl::unexpected(place.error());
  return replace(*place, payload);
}

Result<void> SimpleStore::put_if_absent(std::string_view key, std::string_view payload) {
  if (auto valid = check_key(key); !valid) return valid;
  auto place = prepare_place(key);
  if (!place) return tl::unexpected(place.error());
  return create(*place, payload);
}

Result<void> SimpleStore::replace(const Place& place, std::string_view payload) {
  if (auto occupant = check_occupant(place); !occupant) return tl::unexpected(occupant.error());
  auto temporary = stage(place, payload);
  if (!temporary) return tl::unexpected(temporary.error());
  if (renameat(temporaries(), temporary->name().c_str(), place.directory.get(),
               place.name.c_str()) != 0) {
    return failure(errno, "renameat", place.key);
  }
  temporary->forget_name();
  return settle_publication(place);
}

// Where link finds the name taken, we look what took it before we say so. If nothing is there any
// more it was removed meanwhile, and the name is open to us again.
Result<void> SimpleStore::create(const Place& place, std::string_view payload) {
  auto temporary = stage(place, payload);
  if (!temporary) return tl::unexpected(temporary.error());
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (linkat(temporaries(), temporary->name().c_str(), place.directory.get(), place.name.c_str(),
               0) == 0) {
      return settle_publication(place);
    }
    if (errno != EEXIST) return failure(errno, "linkat", place.key);
    const auto occupant = check_occupant(place);
    if (!occupant) return tl::unexpected(occupant.error());
    if (*occupant == Kind::kObject) return lose(place);
  }
  return failure(EEXIST, "linkat", place.key);
}

Result<Temporary> SimpleStore::make_temporary(const Place& place) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto name = random_name();
    if (!name) return tl::unexpected(name.error());
    auto temporary = open_temporary(*name, O_CREAT | O_EXCL, LOCK_EX);
    if (!temporary) return tl::unexpected(temporary.error());
    if (*temporary) return std::move(**temporary);
  }
  return failure(EEXIST, "openat", place.key);
}

Result<void> SimpleStore::write_payload(int fd, std::string_view payload, std::string_view key) {
  return write_all(fd, payload, key);
}

Result<void> SimpleStore::sync_payload(int fd, std::string_view key) {
  return sync_fd(fd, key);
}

Result<Place> SimpleStore::prepare_place(std::string_view key) {
  return make_place(root(), key);
}

Result<void> SimpleStore::settle_publication(const Place& place) {
  return settle(place);
}

Result<void> SimpleStore::settle_removal(const Place& place) {
  return settle(place);
}

Result<void> SimpleStore::settle(const Place& place) {
  auto synced = sync_fd(place.directory.get(), place.key);
  if (!synced) synced.error().code = ErrorCode::kIndeterminate;
  return synced;
}

Result<Temporary> SimpleStore::stage(const Place& place, std::string_view payload) {
  auto temporary = make_temporary(place);
  if (!temporary) return temporary;
  auto done = write_payload(temporary->fd(), payload, place.key);
  if (done) done = sync_payload(temporary->fd(), place.key);
  if (!done) return tl::unexpected(done.error());
  return temporary;
}

// A file that we could not lock, or that is not under its name any more, is not ours to unlink.
Result<std::optional<Temporary>> SimpleStore::open_temporary(const std::string& name, int flags,
                                                             int lock_operation) {
  UniqueFd fd(uninterrupted([&] {
    return openat(temporaries(), name.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC | flags, 0644);
  }));
  if (!fd) {
    if (errno == EEXIST) return std::nullopt;
    return failure(errno, "openat", name);
  }
  if (uninterrupted([&] { return flock(fd.get(), lock_operation); }) != 0) {
    return failure(errno, "flock", name);
  }
  const auto ours = still_named(temporaries(), name, fd.get());
  if (!ours) return tl::unexpected(ours.error());
  if (!*ours) return std::nullopt;
  return Temporary(temporaries(), name, std::move(fd));
}

Result<Kind> SimpleStore::check_occupant(const Place& place) {
  auto kind = kind_at(place.directory.get(), place.name, place.key);
  if (kind && *kind == Kind::kDirectory) return answer(ErrorCode::kConflict, place.key);
  if (kind && *kind == Kind::kOther) return answer(ErrorCode::kNotAnObject, place.key);
  return kind;
}

Result<void> SimpleStore::lose(const Place& place) {
  if (auto synced = sync_fd(place.directory.get(), place.key); !synced) return synced;
  return answer(ErrorCode::kAlreadyExists, place.key);
}

Result<UniqueFd> SimpleStore::open_object(std::string_view key) {
  if (auto valid = check_key(key); !valid) return tl::unexpected(valid.error());
  const auto place = find_place(root(), key);
  if (!place) return tl::unexpected(place.error());
  if (!*place) return answer(ErrorCode::kNotFound, key);
  return open_object_at(**place);
}

Result<UniqueFd> SimpleStore::open_object_at(const Place& place) {
  return open_for_reading(place, O_NOFOLLOW | O_NONBLOCK);
}

Result<UniqueFd> SimpleStore::open_for_reading(const Place& place, int flags) {
  UniqueFd fd(uninterrupted([&] {
    return openat(place.directory.get(), place.name.c_str(),
                  O_RDONLY | O_NOCTTY | O_CLOEXEC | flags);
  }));
  if (fd) return fd;
  if (errno == ENOENT) return answer(ErrorCode::kNotFound, place.key);
  return failure(errno, "openat", place.key);
}

Result<std::string> SimpleStore::get(std::string_view key) {
  const auto fd = open_object(key);
  if (!fd) return tl::unexpected(fd.error());
  const auto size = size_of(fd->get(), key);
  if (!size) return tl::unexpected(size.error());
  return read_exactly(fd->get(), 0, *size, key);
}

Result<std::string> SimpleStore::get_range(std::string_view key, std::uint64_t offset,
                                           std::uint64_t length) {
  const auto fd = open_object(key);
  if (!fd) return tl::unexpected(fd.error());
  const auto size = size_of(fd->get(), key);
  if (!size) return tl::unexpected(size.error());
  if (length > UINT64_MAX - offset || offset > *size) return answer(ErrorCode::kOutOfRange, key);
  return read_exactly(fd->get(), offset, std::min(length, *size - offset), key);
}

Result<void> SimpleStore::remove(std::string_view key) {
  if (auto valid = check_key(key); !valid) return valid;
  const auto place = find_place(root(), key);
  if (!place) return tl::unexpected(place.error());
  if (!*place) return {};
  const int directory = (*place)->directory.get();
  const auto kind = kind_at(directory, (*place)->name, key);
  if (!kind) return tl::unexpected(kind.error());
  if (*kind == Kind::kOther) return answer(ErrorCode::kNotAnObject, key);
  if (*kind == Kind::kObject) {
    if (unlinkat(directory, (*place)->name.c_str(), 0) == 0) return settle_removal(**place);
    // Another removed it meanwhile, and may have put a key below it: then it is a directory now.
    if (errno != ENOENT && errno != EISDIR) return failure(errno, "unlinkat", key);
  }
  return sync_fd(directory, key);  // another's removal may not be durable yet
}

Result<bool> SimpleStore::exists(std::string_view key) {
  if (auto valid = check_key(key); !valid) return tl::unexpected(valid.error());
  return object_exists(key);
}

Result<bool> SimpleStore::object_exists(std::string_view key) {
  const auto place = find_place(root(), key);
  if (!place) return tl::unexpected(place.error());
  if (!*place) return false;
  const auto kind = kind_at((*place)->directory.get(), (*place)->name, key);
  if (!kind) return tl::unexpected(kind.error());
  if (*kind == Kind::kOther) return answer(ErrorCode::kNotAnObject, key);
  return *kind == Kind::kObject;
}

// Begins at the deepest directory that the prefix names and keeps a stack of paths, not of
// descriptors: each is walked to anew. A replaced object may turn up twice in one listing, under
// its old entry and its new one.
Result<std::vector<std::string>> SimpleStore::list(std::string_view prefix) {
  std::vector<std::string> keys;
  const std::string_view deepest = prefix.substr(0, prefix.rfind('/') + 1);
  if (!deepest.empty() && !check_key(deepest.substr(0, deepest.size() - 1))) return keys;
  std::vector<std::string> pending{std::string(deepest)};
  while (!pending.empty()) {
    const std::string path = std::move(pending.back());  // empty, or ends with a slash
    pending.pop_back();
    const auto place = find_listed_directory(path);
    if (!place && place.error().code != ErrorCode::kInvalidKey) {
      return tl::unexpected(place.error());
    }
    if (!place || !*place) continue;
    const int directory = (*place)->directory.get();
    const auto names = names_in(directory);
    if (!names) return tl::unexpected(names.error());
    for (const std::string& name : *names) {
      std::string key = path + name;
      if (!key.starts_with(prefix) || key == kReserved || key == ".crashgate") continue;
      const auto kind = kind_of_entry(directory, name);
      if (!kind) return tl::unexpected(kind.error());
      if (*kind == Kind::kDirectory) pending.push_back(key + "/");
      if (*kind == Kind::kObject) keys.push_back(std::move(key));
    }
  }
  std::ranges::sort(keys);
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

Result<std::optional<Place>> SimpleStore::find_listed_directory(std::string_view path) {
  return find_place(root(), path);
}

Result<Kind> SimpleStore::kind_of_entry(int directory, const std::string& name) {
  return kind_at(directory, name, name);
}

Result<void> SimpleStore::recover() {
  const auto names = names_in(temporaries());
  if (!names) return tl::unexpected(names.error());
  Result<void> outcome;
  for (const std::string& name : *names) {
    auto removed = recover_temporary(name);
    if (outcome && !removed) outcome = std::move(removed);
  }
  return outcome;
}

Result<void> SimpleStore::recover_temporary(const std::string& name) {
  return remove_abandoned(name, LOCK_EX | LOCK_NB);
}

Result<void> SimpleStore::remove_abandoned(const std::string& name, int lock_operation) {
  const UniqueFd fd(uninterrupted([&] {
    return openat(temporaries(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  }));
  if (!fd && errno == ENOENT) return {};
  if (!fd) return failure(errno, "openat", name);
  if (uninterrupted([&] { return flock(fd.get(), lock_operation); }) != 0) {
    if (errno == EWOULDBLOCK) return {};
    return failure(errno, "flock", name);
  }
  const auto abandoned = still_named(temporaries(), name, fd.get());
  if (!abandoned) return tl::unexpected(abandoned.error());
  if (*abandoned && unlinkat(temporaries(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return failure(errno, "unlinkat", name);
  }
  return {};
}

}  // namespace crashgate::known_bugs
