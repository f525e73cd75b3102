// A private directory that is gone at the end of its scope, with all that is in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace crashgate::testing {

/// For tests that sync a lot, wherever: a tmpfs where there is one.
inline std::filesystem::path fast_parent() {
  const std::filesystem::path shared_memory = "/dev/shm";
  return std::filesystem::exists(shared_memory) ? shared_memory
                                                : std::filesystem::temp_directory_path();
}

/// Not thread-safe. A forked child must leave by _exit, or it would remove the directory of its
/// parent.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(
      const std::filesystem::path& parent = std::filesystem::temp_directory_path())
      : path_(parent / "crashgate-test-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp");
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace crashgate::testing
