#include "faultinject/preload_directory.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "faultinject/shim_command.h"

namespace crashgate::faultinject {

tl::expected<PreloadDirectory, std::string> PreloadDirectory::create(const std::string& base) {
  std::string pattern = base + "/crashgate-shim.XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    return tl::unexpected("cannot make a directory " + pattern + ": " + std::strerror(errno));
  }
  return PreloadDirectory(pattern);
}

PreloadDirectory::~PreloadDirectory() {
  if (directory_.empty()) return;
  unlink(shared_file().c_str());
  unlink(link_path().c_str());
  rmdir(directory_.c_str());
}

std::string PreloadDirectory::link_path() const {
  return directory_ + "/" + kShimLibraryName;
}

tl::expected<std::string, std::string> PreloadDirectory::preloadable(
    const std::string& library) const {
  constexpr const char* kSeparators = " :";
  if (library.find_first_of(kSeparators) == std::string::npos) return library;
  if (link_path().find_first_of(kSeparators) != std::string::npos) {
    return tl::unexpected("cannot preload from a path with a space or a colon: " + library);
  }
  if (symlink(library.c_str(), link_path().c_str()) != 0) {
    return tl::unexpected("cannot make " + link_path() + ": " + std::strerror(errno));
  }
  return link_path();
}

std::string preload_variable(const std::string& library) {
  const char* existing = std::getenv("LD_PRELOAD");
  const bool is_set = existing != nullptr && *existing != '\0';
  return "LD_PRELOAD=" + (is_set ? existing + (":" + library) : library);
}

}  // namespace crashgate::faultinject
