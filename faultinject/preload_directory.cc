#include "faultinject/preload_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "faultinject/shim_command.h"

namespace crashgate::faultinject {

namespace {

constexpr std::string_view kPrefix = "crashgate-shim.";
constexpr std::string_view kPattern = "XXXXXX";  // mkdtemp(3)

std::string shared_file_in(const std::string& directory) {
  return directory + "/shared";
}

std::string link_in(const std::string& directory) {
  return directory + "/" + kShimLibraryName;
}

void remove_with_files(const std::string& directory) {
  unlink(shared_file_in(directory).c_str());
  unlink(link_in(directory).c_str());
  rmdir(directory.c_str());
}

/// The directory, locked; empty where it is gone, not ours, or somebody else has the lock.
UniqueFd lock(const std::string& directory) {
  UniqueFd opened(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info;
  const bool is_ours = opened && fstat(opened.get(), &info) == 0 && info.st_uid == geteuid() &&
                       flock(opened.get(), LOCK_EX | LOCK_NB) == 0 &&
                       // Removed between open and lock?
                       stat(directory.c_str(), &info) == 0;
  return is_ours ? std::move(opened) : UniqueFd();
}

void remove_abandoned(const std::string& base) {
  std::error_code error;
  std::filesystem::directory_iterator entry(base, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (!name.starts_with(kPrefix) || name.size() != kPrefix.size() + kPattern.size()) continue;
    if (const auto held = lock(entry->path())) remove_with_files(entry->path());
  }
}

}  // namespace

tl::expected<PreloadDirectory, std::string> PreloadDirectory::create(const std::string& base) {
  remove_abandoned(base);
  // Somebody who looks for what is abandoned may find it before it has its lock.
  constexpr int kMostTries = 100;
  for (int tries = 0;; ++tries) {
    std::string path = base + "/";
    path.append(kPrefix).append(kPattern);
    if (mkdtemp(path.data()) == nullptr)
      return tl::unexpected("cannot make a directory " + path + ": " + std::strerror(errno));
    auto held = lock(path);
    if (held || tries == kMostTries) return PreloadDirectory(std::move(path), std::move(held));
  }
}

PreloadDirectory::~PreloadDirectory() {
  if (!directory_.empty()) remove_with_files(directory_);
}

std::string PreloadDirectory::shared_file() const {
  return shared_file_in(directory_);
}

tl::expected<std::string, std::string> PreloadDirectory::preloadable(
    const std::string& library) const {
  constexpr const char* kSeparators = " :";
  if (library.find_first_of(kSeparators) == std::string::npos) return library;
  const auto link = link_in(directory_);
  if (link.find_first_of(kSeparators) != std::string::npos) {
    return tl::unexpected("cannot preload from a path with a space or a colon: " + library);
  }
  if (symlink(library.c_str(), link.c_str()) != 0) {
    return tl::unexpected("cannot make " + link + ": " + std::strerror(errno));
  }
  return link;
}

std::string preload_variable(const std::string& library) {
  const char* existing = std::getenv("LD_PRELOAD");
  const bool is_set = existing != nullptr && *existing != '\0';
  return "LD_PRELOAD=" + (is_set ? existing + (":" + library) : library);
}

}  // namespace crashgate::faultinject
