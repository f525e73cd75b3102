// Reading one object below a directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "store/directory.h"
#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate {

/// Opens the directory `path` below `root`, or nothing where an ancestor is missing or is no
/// directory: then there is no object in it either.
Result<std::optional<UniqueFd>> find_directory(int root, std::string_view path, DirectoryUse use);

/// An open object, whose content never changes. Thread-safe.
class Object {
 public:
  /// NotFound where nothing or a directory is at `name`, NotAnObject where something else is. Never
  /// waits for a FIFO and never opens a device.
  static Result<Object> open(int parent, const std::string& name);

  std::uint64_t size() const { return size_; }
  /// Bytes [offset, offset + length), which must lie within size().
  Result<std::string> read(std::uint64_t offset, std::uint64_t length) const;

 private:
  Object(UniqueFd file, std::uint64_t size) : file_(std::move(file)), size_(size) {}

  UniqueFd file_;
  std::uint64_t size_;
};

}  // namespace crashgate
