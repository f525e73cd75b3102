// What does it cost to publish a 4 KiB file, by the ways in use, and which of them survive a crash?
//
//   fsync_strategy_bench [--directory DIR] [Google Benchmark's options]
//
// DIR (or CRASHGATE_BENCH_DIR, or TMPDIR) has to lie on the disk in question: on tmpfs a barrier
// costs nothing. Each iteration publishes one object; removing it again is not timed. The counter
// `ratio` is the time against the first strategy of the same run. `safe` means that after the last
// call the object is there, whole, whatever happens, and that until then a crash leaves either no
// object or a whole one (in place: the old or the new content, whole).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "bench/directory_option.h"
#include "store/unique_fd.h"

namespace {

using crashgate::UniqueFd;

constexpr std::size_t kPayloadSize = 4096;
constexpr const char* kObject = "object";
constexpr const char* kTemporary = "temporary";

enum class Publication { kRename, kLink, kInPlace };

int no_sync(int) {
  return 0;
}
int start_and_wait_for_writeback(int fd) {
  return ::sync_file_range(
      fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

struct Strategy {
  const char* name;
  const char* label;
  Publication publication;
  int extra_open_flags;
  int (*sync_file)(int fd);
  bool sync_directory;
};

// The first is what the others are measured against.
constexpr Strategy kStrategies[] = {
    {"fsync_rename_fsync_directory", "safe", Publication::kRename, 0, &::fsync, true},
    {"fdatasync_rename_fsync_directory", "safe", Publication::kRename, 0, &::fdatasync, true},
    {"dsync_rename_fsync_directory", "safe", Publication::kRename, O_DSYNC, &no_sync, true},
    {"unnamed_fsync_link_fsync_directory", "safe", Publication::kLink, 0, &::fsync, true},
    {"fsync_rename", "unsafe: the name may be lost", Publication::kRename, 0, &::fsync, false},
    {"in_place_fdatasync", "unsafe: torn", Publication::kInPlace, 0, &::fdatasync, false},
    {"in_place_dsync", "unsafe: torn", Publication::kInPlace, O_DSYNC, &no_sync, false},
    {"sync_file_range_rename_fsync_directory", "unsafe: no barrier, empty or lost",
     Publication::kRename, 0, &start_and_wait_for_writeback, true},
    {"rename_fsync_directory", "unsafe: empty, zeros or part", Publication::kRename, 0, &no_sync,
     true},
    {"rename", "unsafe: no barrier at all", Publication::kRename, 0, &no_sync, false},
};

/// A directory of our own below `parent`, removed with all that it holds.
class PrivateDirectory {
 public:
  explicit PrivateDirectory(const std::string& parent) : path_(parent + "/crashgate-bench-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) {
      path_.clear();
      return;
    }
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;
  ~PrivateDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  int fd() const { return fd_.get(); }

 private:
  std::string path_;
  UniqueFd fd_;
};

UniqueFd open_for(Publication publication, int directory, int extra_flags) {
  const int flags = O_WRONLY | O_CLOEXEC | extra_flags;
  switch (publication) {
    case Publication::kRename:
      return UniqueFd(::openat(directory, kTemporary, flags | O_CREAT | O_EXCL, 0600));
    case Publication::kLink:
      return UniqueFd(::openat(directory, ".", flags | O_TMPFILE, 0600));
    case Publication::kInPlace:
      return UniqueFd(::openat(directory, kObject, flags | O_CREAT, 0600));
  }
  return {};
}

int give_name(Publication publication, int directory, int file) {
  switch (publication) {
    case Publication::kRename:
      return ::renameat(directory, kTemporary, directory, kObject);
    case Publication::kLink: {
      // Without CAP_DAC_READ_SEARCH a descriptor is linked by its name under /proc only.
      std::array<char, 32> path;
      std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", file);
      return ::linkat(AT_FDCWD, path.data(), directory, kObject, AT_SYMLINK_FOLLOW);
    }
    case Publication::kInPlace:
      return 0;
  }
  return -1;
}

/// False with errno set where a call failed.
bool publish(const Strategy& strategy, int directory, std::string_view payload) {
  const UniqueFd file = open_for(strategy.publication, directory, strategy.extra_open_flags);
  if (!file) return false;
  if (::write(file.get(), payload.data(), payload.size()) != kPayloadSize) return false;
  if (strategy.sync_file(file.get()) != 0) return false;
  if (give_name(strategy.publication, directory, file.get()) != 0) return false;
  return !strategy.sync_directory || ::fsync(directory) == 0;
}

void run(benchmark::State& state, const Strategy* chosen, const std::string& parent) {
  static std::optional<double> first_strategy_seconds;
  const Strategy& strategy = *chosen;
  const PrivateDirectory directory(parent);
  const std::string payload(kPayloadSize, 'x');
  const bool in_place = strategy.publication == Publication::kInPlace;
  // In place, all iterations overwrite one file whose first version is durable already.
  if (in_place && !(publish(strategy, directory.fd(), payload) && ::fsync(directory.fd()) == 0)) {
    state.SkipWithError(std::strerror(errno));
    return;
  }
  double total_seconds = 0;
  while (state.KeepRunning()) {
    const auto begin = std::chrono::steady_clock::now();
    const bool published = publish(strategy, directory.fd(), payload);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    if (!published || (!in_place && ::unlinkat(directory.fd(), kObject, 0) != 0)) {
      state.SkipWithError(std::strerror(errno));
      return;
    }
    state.SetIterationTime(elapsed.count());
    total_seconds += elapsed.count();
  }
  state.SetLabel(strategy.label);
  const double seconds = total_seconds / static_cast<double>(state.iterations());
  if (chosen == &kStrategies[0]) first_strategy_seconds = seconds;
  if (first_strategy_seconds) state.counters["ratio"] = seconds / *first_strategy_seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string directory = crashgate::bench::take_directory(argc, argv);
  if (!crashgate::bench::is_usable(directory, "fsync_strategy_bench")) return 2;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const Strategy& strategy : kStrategies) {
    benchmark::RegisterBenchmark(strategy.name, &run, &strategy, directory)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
