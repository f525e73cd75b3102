#include "store/listing.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "store/directory.h"
#include "store/directory_entries.h"
#include "store/key.h"
#include "store/object.h"
#include "store/system_call.h"

namespace crashgate {
namespace {

// d_type, asked of the file itself where the file system does not tell; DT_UNKNOWN again where it
// has vanished.
Result<unsigned char> type_of(int directory, const DirectoryEntry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type;
  const auto occupant = look_up(directory, entry.name);
  if (!occupant) return tl::unexpected(occupant.error());
  switch (*occupant) {
    case Occupant::kObject:
      return DT_REG;
    case Occupant::kDirectory:
      return DT_DIR;
    default:
      return DT_UNKNOWN;
  }
}

bool is_on_the_way(std::string_view path, std::string_view prefix) {
  return path.starts_with(prefix) || prefix.starts_with(path);
}

}  // namespace

// A stack of directories still to be read, as paths relative to the root with a slash at the end.
// It starts at the deepest directory that the prefix names whole, and from there only what can hold
// a match is descended into. What vanishes, or is replaced, before it is opened has no keys any
// more.
Result<std::vector<std::string>> list_keys(int root, std::string_view prefix) {
  std::vector<std::string> keys;
  const auto slash = prefix.rfind('/');
  const std::string_view start = slash == std::string_view::npos ? "" : prefix.substr(0, slash + 1);
  if (!start.empty() && !is_valid_key(start.substr(0, start.size() - 1))) return keys;

  std::vector<std::string> pending{std::string(start)};
  while (!pending.empty()) {
    const auto path = std::move(pending.back());
    pending.pop_back();
    const std::string_view name =
        path.empty() ? path : std::string_view(path).substr(0, path.size() - 1);
    auto directory = find_directory(root, name, DirectoryUse::kRead);
    if (!directory) {
      if (directory.error().errno_value == ELOOP) continue;
      return tl::unexpected(std::move(directory).error());
    }
    if (!*directory) continue;
    const auto entries = read_entries((*directory)->get(), [&](std::string_view entry) {
      const auto key = path + std::string(entry);
      return is_on_the_way(key, prefix) && is_valid_key(key);
    });
    if (!entries) {
      return failure(entries.error().errno_value, entries.error().operation, name);
    }
    for (const auto& entry : *entries) {
      auto key = path + entry.name;
      const auto type = type_of((*directory)->get(), entry);
      if (!type) return failure(type.error().errno_value, type.error().operation, key);
      if (*type == DT_DIR) {
        key += '/';
        if (is_on_the_way(key, prefix)) pending.push_back(std::move(key));
      } else if (*type == DT_REG && key.starts_with(prefix)) {
        keys.push_back(std::move(key));
      }
    }
  }
  std::ranges::sort(keys);
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace crashgate
