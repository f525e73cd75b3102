// What other programs may have put into a store's root: things that are no objects of its own, at
// or above a key. Symlinks lead into the root itself, or to a directory beside it, which is known
// to the last byte: whoever reads, changes or adds something there has followed one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

enum class ForeignKind : std::uint8_t {
  kSymlinkToFile,       // outside the root
  kSymlinkToDirectory,  // outside the root
  kSymlinkToNothing,    // to a name outside the root that is free
  kSymlinkToObject,     // to kLinkedObject
  kSymlinkToRoot,       // so that it has no end
  kFifo,
  kSocket,
  kDevice,
  kDirectory,
};
std::string_view to_string(ForeignKind kind);  // the name in a plan
std::optional<ForeignKind> find_foreign_kind(std::string_view name);
/// "a symlink to a file outside the root".
std::string_view describe(ForeignKind kind);
bool is_symlink(ForeignKind kind);

struct ForeignObject {
  ForeignKind kind = ForeignKind::kFifo;
  std::string path;  // of the form of a key
  bool operator==(const ForeignObject&) const = default;
};

/// The key that kSymlinkToObject leads to, and files and a directory that are outside, relative to
/// the directory there.
inline constexpr std::string_view kLinkedObject = "object";
inline constexpr std::string_view kOutsideFile = "file";
inline constexpr std::string_view kOutsideDirectory = "sub";
inline constexpr std::string_view kOutsideFileBelow = "sub/file";

/// Makes the objects in `root`, their directories included, and the directory "outside" beside it.
Result<void> place_foreign_objects(const std::string& root,
                                   const std::vector<ForeignObject>& objects);
/// What is not as it was placed: "\"x\" was removed". Empty: nothing.
std::string damage_to_foreign_objects(const std::string& root,
                                      const std::vector<ForeignObject>& objects);

/// What a key has in its way.
struct Obstacle {
  const ForeignObject* object = nullptr;
  bool bars = false;  // every call must fail; else the key is as if absent, and only cannot be put
};
/// As store/local_file_store.h has it. Empty: nothing foreign is in the way.
std::optional<Obstacle> obstacle_to(std::string_view key,
                                    const std::vector<ForeignObject>& objects);

/// Whether this machine lets us make devices (CAP_MKNOD). Empty: yes, else why not.
std::string why_no_devices();

}  // namespace crashgate::harness
