#include "faultinject/call_path.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include <climits>
#include <cstring>
#include <string_view>

#include "faultinject/path_lookup.h"

namespace crashgate::faultinject {
namespace {

struct PathBuffer {
  char text[PATH_MAX];
  std::size_t size = 0;

  /// False: too long.
  bool append(std::string_view part) {
    if (size + part.size() >= sizeof text) return false;
    std::memcpy(text + size, part.data(), part.size());
    size += part.size();
    text[size] = '\0';
    return true;
  }
};

/// The target of a /proc link, without the mark of a deleted file. False: there is none.
bool read_proc_link(const char* link, PathBuffer& path) {
  long length = raw_syscall(
      SYS_readlink,
      {reinterpret_cast<long>(link), reinterpret_cast<long>(path.text), sizeof path.text - 1});
  if (is_error(length)) return false;
  path.size = static_cast<std::size_t>(length);
  constexpr std::string_view kDeleted = " (deleted)";
  if (std::string_view(path.text, path.size).ends_with(kDeleted)) path.size -= kDeleted.size();
  path.text[path.size] = '\0';
  return true;
}

bool descriptor_path(int fd, PathBuffer& path) {
  if (fd == AT_FDCWD) return read_proc_link("/proc/self/cwd", path);
  if (fd < 0) return false;
  char link[32] = "/proc/self/fd/";
  char digits[12];
  std::size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + fd % 10);
    fd /= 10;
  } while (fd > 0);
  std::size_t end = std::strlen(link);
  while (count > 0) link[end++] = digits[--count];
  link[end] = '\0';
  return read_proc_link(link, path);
}

/// Resolves ".", ".." and empty components of an absolute path in place.
void normalize(PathBuffer& path) {
  std::size_t out = 0;
  for (std::size_t in = 0; in < path.size;) {
    while (in < path.size && path.text[in] == '/') ++in;
    std::size_t begin = in;
    while (in < path.size && path.text[in] != '/') ++in;
    std::string_view component(path.text + begin, in - begin);
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      while (out > 0 && path.text[--out] != '/') {
      }
      continue;
    }
    path.text[out++] = '/';
    std::memmove(path.text + out, component.data(), component.size());
    out += component.size();
  }
  if (out == 0) path.text[out++] = '/';
  path.size = out;
  path.text[out] = '\0';
}

bool named_path(int directory, const char* name, PathBuffer& path) {
  if (name == nullptr) return descriptor_path(directory, path);
  if (!is_readable(name)) return false;  // the kernel will say so
  if (*name == '\0') return descriptor_path(directory, path);
  if (*name != '/' && !(descriptor_path(directory, path) && path.append("/"))) return false;
  if (!path.append({name, strnlen(name, PATH_MAX)})) return false;
  normalize(path);
  return true;
}

}  // namespace

bool glob_matches(const char* pattern, const char* text) {
  const char* star = nullptr;  // the last * seen, and where its match ends so far
  const char* resume = nullptr;
  while (*text != '\0') {
    if (*pattern == '*') {
      star = pattern++;
      resume = text;
    } else if (*pattern == '?' || *pattern == *text) {
      ++pattern;
      ++text;
    } else if (star != nullptr) {
      pattern = star + 1;
      text = ++resume;
    } else {
      return false;
    }
  }
  while (*pattern == '*') ++pattern;
  return *pattern == '\0';
}

bool call_path_matches(const RowInfo& row, const Arguments& arguments, const char* pattern) {
  for (std::size_t i = 0; i < kMaxArguments; ++i) {
    PathBuffer path;
    bool known = false;
    switch (row.roles[i]) {
      case Role::kDescriptor:
      case Role::kSource:
        known = descriptor_path(static_cast<int>(arguments[i]), path);
        break;
      case Role::kPath:
      case Role::kPath2: {
        bool relative = i > 0 && (row.roles[i - 1] == Role::kDirectory ||
                                  row.roles[i - 1] == Role::kDirectory2);
        int directory = relative ? static_cast<int>(arguments[i - 1]) : AT_FDCWD;
        known = named_path(directory, reinterpret_cast<const char*>(arguments[i]), path);
        break;
      }
      default:
        break;
    }
    if (known && glob_matches(pattern, path.text)) return true;
  }
  return false;
}

}  // namespace crashgate::faultinject
