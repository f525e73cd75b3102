#include "bench/directory_option.h"

#include <benchmark/benchmark.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

namespace crashgate::bench {

std::string take_directory(int& argc, char** argv) {
  const char* environment = std::getenv("CRASHGATE_BENCH_DIR");
  std::string directory =
      environment != nullptr ? environment : std::filesystem::temp_directory_path().string();
  constexpr std::string_view kOption = "--directory";
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == kOption && i + 1 < argc) {
      directory = argv[++i];
    } else if (argument.starts_with(kOption) && argument.substr(kOption.size()).starts_with('=')) {
      directory = argument.substr(kOption.size() + 1);
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return directory;
}

bool is_usable(const std::string& directory, const char* program) {
  struct statfs file_system;
  if (::statfs(directory.c_str(), &file_system) != 0 || ::access(directory.c_str(), W_OK) != 0) {
    std::fprintf(stderr, "%s: %s: %s\n", program, directory.c_str(), std::strerror(errno));
    return false;
  }
  benchmark::AddCustomContext("directory", directory);
  if (file_system.f_type == TMPFS_MAGIC) {
    benchmark::AddCustomContext("warning", "this is tmpfs, where a barrier costs nothing");
  }
  return true;
}

}  // namespace crashgate::bench
