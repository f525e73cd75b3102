// A private temporary directory, removed with all that is in it at the end of its life. On tmpfs
// where there is one: the tests sync a lot.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace crashgate::known_bugs {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    const bool has_tmpfs = std::filesystem::exists("/dev/shm");
    const std::filesystem::path parent =
        has_tmpfs ? "/dev/shm" : std::filesystem::temp_directory_path();
    path_ = parent / "crashgate-known-bugs-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp " + path_);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace crashgate::known_bugs
