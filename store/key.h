// The shape of keys, judged from their bytes alone.
//
// A key is 1 to 4000 bytes, any but NUL; its components, between slashes, are 1 to 255 bytes, none
// of them "." or "..". The first is not ".crashgate", the store's own directory. The limits are
// Linux's own (NAME_MAX; PATH_MAX with some room), so that every legal key can be handed to the
// kernel as one relative path.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "store/error.h"

namespace crashgate {

inline constexpr std::size_t kMaxKeyBytes = 4000;
inline constexpr std::size_t kMaxComponentBytes = 255;
inline constexpr std::string_view kReservedComponent = ".crashgate";

bool is_valid_key(std::string_view key);

/// A key taken apart at its last slash. Views into the key.
struct KeyParts {
  std::string_view parent;  // the directory's path relative to the root; empty for the root itself
  std::string name;         // the last component, terminated for the kernel
};

/// InvalidKey (errno 0, no operation) where the key is malformed.
Result<KeyParts> parse_key(std::string_view key);

/// Takes the first component, and the slash after it, off the front of `path`.
std::string_view take_component(std::string_view& path);

}  // namespace crashgate
