// How many crash states of a recorded disk are made, mounted, looked at and unmounted a second?
//
//   disk_state_bench [Google Benchmark's options]
//
// The recording: a program that replaces four files (create, write 5000 bytes, fsync, rename, fsync
// of the directory) on a new file system of 512 MiB. To look is to read all files. Needs root, FUSE
// and loop devices.
//
// Rows `states/FS/JOBS`: so many processes at once, each with a loop device of its own, 25 states
// each a round. `per_s`: of all together; `make_ms` and so on: means, of one state in one process.
// Rows `against_shell/FS`: ours, one process, against what a shell does - a fresh copy of the image
// (cp), the log replayed into it, losetup, mount, cat, umount, losetup -d; `ratio` is our time by
// the peer's (0.1: ten times as fast).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/child.h"
#include "bench/comparison.h"
#include "faultinject/disk/recorded_disk.h"
#include "harness/clock.h"
#include "harness/disk/disk_materializer.h"
#include "harness/disk/disk_state_enumerator.h"
#include "harness/disk/file_system.h"
#include "harness/plan/scratch_directory.h"
#include "store/system_call.h"

namespace {

using namespace crashgate;
using namespace crashgate::harness;

constexpr int kMostJobs = 4;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool replace_files(const std::string& place) {
  const UniqueFd directory(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int index = 0; index < 4; ++index) {
    const std::string content(5000, static_cast<char>('a' + index));
    const UniqueFd file(::open((place + "/new").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    if (::write(file.get(), content.data(), content.size()) !=
            static_cast<ssize_t>(content.size()) ||
        ::fsync(file.get()) != 0 ||
        ::rename((place + "/new").c_str(), (place + "/file" + std::to_string(index)).c_str()) !=
            0 ||
        ::fsync(directory.get()) != 0) {
      return false;
    }
  }
  return true;
}

struct Subject {
  FileSystemChoice choice;
  DiskImage base;
  faultinject::BlockTrace trace;
  std::vector<DiskPiece> pieces;
  std::vector<DiskState> states;
};

/// Null: why is said on standard error.
std::unique_ptr<Subject> record(const FileSystem& file_system, const std::string& scratch) {
  const auto give_up = [&](const std::string& why) {
    std::cerr << "disk_state_bench: " << file_system.name << ": " << why << '\n';
    return nullptr;
  };
  const FileSystemChoice choice{.file_system = &file_system};
  auto base = make_file_system(choice);
  if (!base) return give_up(to_string(base.error()));
  const auto image = base->copy();
  if (!image) return give_up(to_string(image.error()));
  const std::string server = scratch + "/server";
  const std::string place = scratch + "/recorded";
  ::mkdir(server.c_str(), 0700);
  ::mkdir(place.c_str(), 0700);
  auto disk = faultinject::RecordedDisk::create(image->fd(), server);
  if (!disk) return give_up(disk.error().message);
  auto mount = Mount::create(choice, disk->device(), place);
  if (!mount) return give_up(to_string(mount.error()));
  const std::uint64_t mounted = disk->stamp();
  if (!replace_files(place)) return give_up("the workload failed");
  auto trace = disk->collect();
  if (!trace) return give_up(trace.error().message);
  auto subject =
      std::make_unique<Subject>(Subject{choice, std::move(*base), std::move(*trace), {}, {}});
  DiskStateEnumerator enumerator(subject->trace, mounted, {}, {.state_limit = 400});
  subject->pieces = enumerator.pieces();
  while (const DiskState* state = enumerator.next()) subject->states.push_back(*state);
  return subject;
}

bool look(const std::string& place) {
  for (const auto& entry : std::filesystem::directory_iterator(place)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    benchmark::DoNotOptimize(content.data());
  }
  return true;
}

/// Seconds.
struct Times {
  double make = 0;
  double mount = 0;
  double look = 0;
  double unmount = 0;
};

/// One loop device and a place to mount it.
class Job {
 public:
  Job(const Subject& subject, std::string place) : subject_(subject), place_(std::move(place)) {
    ::mkdir(place_.c_str(), 0700);
    auto made = DiskMaterializer::create(subject.base, subject.trace, subject.pieces);
    if (made) materializer_.emplace(std::move(*made));
  }

  /// The next state.
  bool run(Times& times) {
    if (!materializer_) return false;
    const auto start = Clock::now();
    if (!materializer_->make(subject_.states[next_++ % subject_.states.size()])) return false;
    const auto made = Clock::now();
    auto mount = Mount::create(subject_.choice, materializer_->device(), place_);
    if (!mount) return false;
    const auto mounted = Clock::now();
    look(place_);
    const auto looked = Clock::now();
    if (!mount->unmount()) return false;
    const auto unmounted = Clock::now();
    times.make += seconds_between(start, made);
    times.mount += seconds_between(made, mounted);
    times.look += seconds_between(mounted, looked);
    times.unmount += seconds_between(looked, unmounted);
    return true;
  }

 private:
  const Subject& subject_;
  const std::string place_;
  std::optional<DiskMaterializer> materializer_;
  std::size_t next_ = 0;
};

/// In memory that is shared with the processes of the jobs.
struct Shared {
  std::atomic<int> ready;
  Times times[kMostJobs];
  Clock::time_point begun[kMostJobs];
  Clock::time_point ended[kMostJobs];
};

void states(benchmark::State& state, const Subject& subject, const std::string& scratch) {
  constexpr int kStates = 25;  // of each job a round
  const auto jobs = static_cast<int>(state.range(0));
  void* const memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return state.SkipWithError("no memory");
  std::vector<double> rates;
  Times sum;
  while (state.KeepRunning()) {
    auto* const shared = new (memory) Shared{};
    std::vector<pid_t> children;
    for (int job = 0; job < jobs; ++job) {
      const pid_t child = ::fork();
      if (child == 0) {
        bool ran = true;
        {
          Job mine(subject, scratch + "/job" + std::to_string(job));
          Times warm_up;
          ran = mine.run(warm_up);
          ++shared->ready;
          while (shared->ready < jobs) ::sched_yield();
          shared->begun[job] = Clock::now();
          for (int count = 0; ran && count < kStates; ++count) ran = mine.run(shared->times[job]);
          shared->ended[job] = Clock::now();
        }
        ::_exit(ran ? 0 : 1);
      }
      children.push_back(child);
    }
    bool all_ran = true;
    for (const pid_t child : children) {
      int status = 0;
      all_ran = ::waitpid(child, &status, 0) == child && status == 0 && all_ran;
    }
    if (!all_ran) {
      state.SkipWithError("a state could not be made, mounted or unmounted");
      break;
    }
    const double seconds = seconds_between(*std::min_element(shared->begun, shared->begun + jobs),
                                           *std::max_element(shared->ended, shared->ended + jobs));
    state.SetIterationTime(seconds);
    rates.push_back(jobs * kStates / seconds);
    for (const Times& times : shared->times) {
      sum.make += times.make;
      sum.mount += times.mount;
      sum.look += times.look;
      sum.unmount += times.unmount;
    }
  }
  if (!rates.empty()) {
    const double count = static_cast<double>(rates.size()) * jobs * kStates;
    state.counters["per_s"] = bench::median(rates);
    state.counters["make_ms"] = sum.make / count * 1e3;
    state.counters["mount_ms"] = sum.mount / count * 1e3;
    state.counters["look_ms"] = sum.look / count * 1e3;
    state.counters["unmount_ms"] = sum.unmount / count * 1e3;
  }
  ::munmap(memory, sizeof(Shared));
}

/// A file that holds the base, and how a shell makes a state of it.
class ShellReplay {
 public:
  ShellReplay(const Subject& subject, const std::string& scratch)
      : subject_(subject), base_(scratch + "/base"), image_(scratch + "/image") {
    saved_ = subject.base.save(base_).has_value();
    const std::string place = scratch + "/shell";
    ::mkdir(place.c_str(), 0700);
    const std::string options(subject.choice.file_system->mount_options);
    script_ = "device=$(losetup --find --show " + image_ + ") && mount " +
              (options.empty() ? "" : "-o " + options + " ") + "\"$device\" " + place +
              " && { find " + place + " -type f -exec cat {} + >/dev/null; umount " + place +
              "; losetup -d \"$device\"; }";
  }

  std::optional<double> seconds_per_state() {
    if (!saved_) return std::nullopt;
    const auto start = Clock::now();
    if (bench::run({"cp", "--sparse=always", base_, image_}) != 0) return std::nullopt;
    if (!replay(subject_.states[next_++ % subject_.states.size()])) return std::nullopt;
    if (bench::run({"sh", "-c", script_}) != 0) return std::nullopt;
    return seconds_between(start, Clock::now());
  }

 private:
  bool replay(const DiskState& state) {
    const UniqueFd image(::open(image_.c_str(), O_WRONLY | O_CLOEXEC));
    auto lost = state.lost.begin();
    for (std::uint32_t index = 0; index < subject_.pieces.size(); ++index) {
      const DiskPiece& piece = subject_.pieces[index];
      if (lost != state.lost.end() && *lost == index) {
        ++lost;
        continue;
      }
      if (subject_.trace.requests[piece.request].begin > state.stamp) break;
      std::string bytes(bytes_of(subject_.trace, piece, piece.offset, piece.length));
      bytes.resize(piece.length, '\0');
      if (::pwrite(image.get(), bytes.data(), bytes.size(), static_cast<off_t>(piece.offset)) !=
          static_cast<ssize_t>(bytes.size())) {
        return false;
      }
    }
    return true;
  }

  const Subject& subject_;
  const std::string base_;
  const std::string image_;
  bool saved_ = false;
  std::string script_;
  std::size_t next_ = 0;
};

void against_shell(benchmark::State& state, const Subject& subject, const std::string& scratch) {
  constexpr int kStates = 10;
  Job ours(subject, scratch + "/ours");
  ShellReplay peer(subject, scratch);
  bench::compare(
      state,
      [&]() -> std::optional<double> {
        const auto start = Clock::now();
        Times times;
        for (int count = 0; count < kStates; ++count) {
          if (!ours.run(times)) return std::nullopt;
        }
        return seconds_between(start, Clock::now()) / kStates;
      },
      [&] { return peer.seconds_per_state(); });
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (const auto why = faultinject::why_no_recorded_disk(); !why.empty()) {
    std::cerr << "disk_state_bench: nothing to measure: " << why << '\n';
    return 0;
  }
  const auto scratch = ScratchDirectory::create();
  if (!scratch || !enter_mount_namespace()) {
    std::cerr << "disk_state_bench: no scratch directory or mount namespace\n";
    return 4;
  }
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const FileSystem& file_system : file_systems()) {
    if (const auto why = why_no_file_system(file_system); !why.empty()) {
      std::cerr << "disk_state_bench: without " << file_system.name << ": " << why << '\n';
      continue;
    }
    auto subject = record(file_system, scratch->path());
    if (!subject) return 4;
    const Subject* const kept = subjects.emplace_back(std::move(subject)).get();
    const std::string& place = scratch->path();
    const std::string name(file_system.name);
    benchmark::RegisterBenchmark(("states/" + name).c_str(),
                                 [=](benchmark::State& state) { states(state, *kept, place); })
        ->Arg(1)
        ->Arg(2)
        ->Arg(4)
        ->UseManualTime();
    benchmark::RegisterBenchmark(("against_shell/" + name).c_str(), [=](benchmark::State& state) {
      against_shell(state, *kept, place);
    })->UseManualTime();
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
