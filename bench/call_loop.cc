// What shim_overhead_bench and recording_overhead_bench run with and without being watched:
//
//   call_loop CALL DIRECTORY COUNT     make that call COUNT times, print nanoseconds per call
//   twice:
//                                      the median of batches, so that being preempted hardly
//                                      counts, and the mean, so that what is done now and then does
//   call_loop --list                   the calls, one a line
//
// Exit status 0: done; 1: a call failed; 2: bad usage.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kBatch = 100;
constexpr std::array<char, 4096> kBlock{};

bool write_block(int fd, const char*) {
  return ::pwrite(fd, kBlock.data(), kBlock.size(), 0) == static_cast<ssize_t>(kBlock.size());
}
bool append_block(int fd, const char*) {
  return ::write(fd, kBlock.data(), kBlock.size()) == static_cast<ssize_t>(kBlock.size());
}
bool sync_file(int fd, const char*) {
  return ::fsync(fd) == 0;
}
bool open_and_close(int, const char* path) {
  const int fd = ::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  return fd >= 0 && ::close(fd) == 0;
}

struct Loop {
  std::string_view name;
  bool (*call)(int fd, const char* path);
};
constexpr Loop kLoops[] = {{"pwrite_4096", &write_block},
                           {"append_4096", &append_block},
                           {"fsync", &sync_file},
                           {"openat_close", &open_and_close}};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--list") {
    for (const auto& loop : kLoops) std::printf("%s\n", loop.name.data());
    return 0;
  }
  const std::string_view name = argc == 4 ? argv[1] : "";
  const auto* loop = std::ranges::find(kLoops, name, &Loop::name);
  const long count = argc == 4 ? std::atol(argv[3]) : 0;
  if (loop == std::end(kLoops) || count <= 0) {
    std::fprintf(stderr, "usage: call_loop CALL DIRECTORY COUNT\n");
    return 2;
  }
  const std::string path = std::string(argv[2]) + "/call-loop-" + std::to_string(::getpid());
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  bool done = fd >= 0 && write_block(fd, path.c_str());
  std::vector<double> batches(static_cast<std::size_t>((count + kBatch - 1) / kBatch));
  for (auto& nanoseconds : batches) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBatch && done; ++i) done = loop->call(fd, path.c_str());
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start;
    nanoseconds = elapsed.count() / kBatch;
  }
  ::unlink(path.c_str());
  if (!done) return 1;
  const double mean =
      std::accumulate(batches.begin(), batches.end(), 0.0) / static_cast<double>(batches.size());
  const auto middle = batches.begin() + static_cast<std::ptrdiff_t>(batches.size() / 2);
  std::ranges::nth_element(batches, middle);
  std::printf("%.2f %.2f\n", *middle, mean);
  return 0;
}
