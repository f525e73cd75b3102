#include "store/object.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/system_call.h"

namespace crashgate {

Result<std::optional<UniqueFd>> find_directory(int root, std::string_view path, DirectoryUse use) {
  auto directory = open_directory(root, path, use);
  if (directory) return std::optional(std::move(*directory));
  const auto code = directory.error().code;
  if (code == ErrorCode::kNotFound || code == ErrorCode::kConflict) return std::nullopt;
  return tl::unexpected(std::move(directory).error());
}

// Looked at before it is opened, since opening can have effects of its own on a FIFO's writer or a
// device. What replaces it in between is opened without waiting, and looked at again.
Result<Object> Object::open(int parent, const std::string& name) {
  const auto occupant = look_up(parent, name);
  if (!occupant) return tl::unexpected(occupant.error());
  if (*occupant == Occupant::kForeign) return failure(ErrorCode::kNotAnObject, 0, "fstatat");
  if (*occupant != Occupant::kObject) return failure(ErrorCode::kNotFound, ENOENT, "fstatat");
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  UniqueFd file(retry_interrupted([&] { return ::openat(parent, name.c_str(), kFlags); }));
  if (!file) {
    if (errno == ENOENT) return failure(ErrorCode::kNotFound, ENOENT, "openat");
    if (errno == ELOOP || errno == ENXIO) return failure(ErrorCode::kNotAnObject, errno, "openat");
    return failure(errno, "openat");
  }
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return failure(errno, "fstat");
  if (S_ISDIR(status.st_mode)) return failure(ErrorCode::kNotFound, EISDIR, "fstat");
  if (!S_ISREG(status.st_mode)) return failure(ErrorCode::kNotAnObject, 0, "fstat");
  return Object(std::move(file), static_cast<std::uint64_t>(status.st_size));
}

Result<std::string> Object::read(std::uint64_t offset, std::uint64_t length) const {
  std::string content(length, '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const auto got = retry_interrupted([&] {
      return ::pread(file_.get(), content.data() + done, content.size() - done,
                     static_cast<off_t>(offset + done));
    });
    if (got < 0) return failure(errno, "pread");
    if (got == 0) return failure(EIO, "pread");  // shorter than fstat said
    done += static_cast<std::size_t>(got);
  }
  return content;
}

}  // namespace crashgate
