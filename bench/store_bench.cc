// What do the store's operations cost, against the same done by hand with fewer promises?
//
//   store_bench [--directory DIR] [Google Benchmark's options]
//
// DIR (or CRASHGATE_BENCH_DIR, or TMPDIR) has to lie on the disk in question: on tmpfs a barrier
// costs nothing, and only the processor is measured. A round is a few operations of the store, then
// as many of the peer, on objects of the same size. `per_s` and `peer_per_s` are operations per
// second, `ratio` is the store's time by the peer's. Peers of what writes:
//
//   by_hand     the classic: temporary file, fsync, rename (link, if absent), fsync of the
//   directory no_barrier  the same without both fsyncs: what a crash leaves is anything
//
// and of what reads: plain, the obvious calls on the same files (open and read, stat, readdir).
// `lose` is a put_if_absent of what is there already; its peer does what loses by hand: link, fsync
// of the directory.
#include <benchmark/benchmark.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/comparison.h"
#include "bench/directory_option.h"
#include "harness/plan/scratch_directory.h"
#include "store/local_file_store.h"
#include "store/unique_fd.h"

namespace {

using namespace crashgate;

constexpr int kOperationsPerRound = 20;
constexpr int kListed = 100;
constexpr std::size_t kSizes[] = {100, 4096, 1 << 20};

// What both sides work on: a store, and a directory for the peer.
struct Place {
  LocalFileStore store;
  UniqueFd directory;
};

enum class Barriers { kNone, kByHand };
enum class Publication { kReplace, kIfAbsent, kLose };

std::string name_of(int object) {
  return "object-" + std::to_string(object);
}

bool write_whole(int fd, std::string_view payload) {
  return ::write(fd, payload.data(), payload.size()) == static_cast<ssize_t>(payload.size());
}

bool publish(int directory, const std::string& name, std::string_view payload, Barriers barriers,
             Publication publication) {
  const bool by_hand = barriers == Barriers::kByHand;
  {
    const UniqueFd file(
        ::openat(directory, "temporary", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file || !write_whole(file.get(), payload)) return false;
    if (by_hand && ::fsync(file.get()) != 0) return false;
  }
  bool named = false;
  if (publication == Publication::kReplace) {
    named = ::renameat(directory, "temporary", directory, name.c_str()) == 0;
  } else {
    const bool linked = ::linkat(directory, "temporary", directory, name.c_str(), 0) == 0;
    named = linked == (publication == Publication::kIfAbsent) &&
            ::unlinkat(directory, "temporary", 0) == 0;
  }
  return named && (!by_hand || ::fsync(directory) == 0);
}

bool read_range(int directory, const std::string& name, off_t offset, std::size_t length) {
  const UniqueFd file(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) return false;
  std::string payload(std::min(length, static_cast<std::size_t>(status.st_size - offset)), '\0');
  const auto count = ::pread(file.get(), payload.data(), payload.size(), offset);
  benchmark::DoNotOptimize(payload.data());
  return count == static_cast<ssize_t>(payload.size());
}

bool list_plainly(int directory) {
  DIR* stream = ::fdopendir(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (stream == nullptr) return false;
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream)) names.emplace_back(entry->d_name);
  ::closedir(stream);
  std::ranges::sort(names);
  return !names.empty();
}

// One operation on the object with that number; false: it failed.
using Operation = std::function<bool(int object)>;

bench::Measurement measured(Operation prepare, Operation operation) {
  return
      [prepare = std::move(prepare), operation = std::move(operation)]() -> std::optional<double> {
        for (int object = 0; object < kOperationsPerRound; ++object) {
          if (!prepare(object)) return std::nullopt;
        }
        const auto start = std::chrono::steady_clock::now();
        for (int object = 0; object < kOperationsPerRound; ++object) {
          if (!operation(object)) return std::nullopt;
        }
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        return elapsed.count() / kOperationsPerRound;
      };
}

struct Row {
  std::string name;
  bench::Measurement store;
  bench::Measurement peer;
};

std::vector<Row> rows_of(Place& place, std::size_t size) {
  const std::string payload(size, 'x');
  const auto& store = place.store;
  const int directory = place.directory.get();
  const Operation nothing = [](int) { return true; };
  const Operation absent = [directory, &store](int object) {
    const auto name = name_of(object);
    ::unlinkat(directory, name.c_str(), 0);
    return store.remove(name).has_value();
  };
  const Operation present = [directory, payload, &store](int object) {
    const auto name = name_of(object);
    return store.put(name, payload) &&
           publish(directory, name, payload, Barriers::kNone, Publication::kReplace);
  };
  const auto peer_publishes = [directory, payload](Barriers barriers, Publication publication) {
    return [=](int object) {
      return publish(directory, name_of(object), payload, barriers, publication);
    };
  };
  const Operation put = [payload, &store](int object) {
    return store.put(name_of(object), payload).has_value();
  };
  const Operation win = [payload, &store](int object) {
    return store.put_if_absent(name_of(object), payload).has_value();
  };
  const Operation lose = [payload, &store](int object) {
    const auto lost = store.put_if_absent(name_of(object), payload);
    return !lost && lost.error().code == ErrorCode::kAlreadyExists;
  };
  struct Writer {
    const char* name;
    Operation prepare;
    Operation store;
    Publication publication;
  };
  std::vector<Row> rows;
  const auto suffix = "/" + std::to_string(size) + "/";
  for (const auto& writer : {Writer{"put", nothing, put, Publication::kReplace},
                             Writer{"put_if_absent_win", absent, win, Publication::kIfAbsent},
                             Writer{"put_if_absent_lose", present, lose, Publication::kLose}}) {
    for (const auto barriers : {Barriers::kByHand, Barriers::kNone}) {
      rows.push_back(
          {writer.name + suffix + (barriers == Barriers::kNone ? "no_barrier" : "by_hand"),
           measured(writer.prepare, writer.store),
           measured(writer.prepare, peer_publishes(barriers, writer.publication))});
    }
  }
  const std::uint64_t offset = size / 4;
  const std::uint64_t length = size / 2;
  rows.push_back(
      {"get" + suffix + "plain",
       measured(present, [&store](int object) { return store.get(name_of(object)).has_value(); }),
       measured(nothing,
                [=](int object) { return read_range(directory, name_of(object), 0, SIZE_MAX); })});
  rows.push_back({"get_range" + suffix + "plain",
                  measured(present,
                           [=, &store](int object) {
                             return store.get_range(name_of(object), offset, length).has_value();
                           }),
                  measured(nothing, [=](int object) {
                    return read_range(directory, name_of(object), static_cast<off_t>(offset),
                                      length);
                  })});
  return rows;
}

// What does not depend on the objects' size.
std::vector<Row> rows_of_names(Place& place) {
  const auto& store = place.store;
  const int directory = place.directory.get();
  const auto fill = [directory, &store, filled = false](int) mutable {
    for (int object = 0; object < kListed && !filled; ++object) {
      const auto name = name_of(object);
      if (!store.put(name, "x") ||
          !publish(directory, name, "x", Barriers::kNone, Publication::kReplace)) {
        return false;
      }
    }
    filled = true;
    return true;
  };
  return {{"exists/plain",
           measured(fill,
                    [&store](int object) { return store.exists(name_of(object)).value_or(false); }),
           measured(fill,
                    [directory](int object) {
                      struct stat status;
                      return ::fstatat(directory, name_of(object).c_str(), &status, 0) == 0;
                    })},
          {"list/" + std::to_string(kListed) + "/plain",
           measured(fill, [&store](int) { return store.list("").has_value(); }),
           measured(fill, [directory](int) { return list_plainly(directory); })}};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string parent = bench::take_directory(argc, argv);
  if (!bench::is_usable(parent, "store_bench")) return 2;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const auto scratch = harness::ScratchDirectory::create_in(parent);
  if (!scratch) {
    std::fprintf(stderr, "store_bench: %s\n", to_string(scratch.error()).c_str());
    return 2;
  }
  auto store = LocalFileStore::open(scratch->path() + "/store");
  const auto peer = scratch->path() + "/peer";
  if (!store || ::mkdir(peer.c_str(), 0700) != 0) {
    std::fprintf(stderr, "store_bench: cannot make a store in %s\n", scratch->path().c_str());
    return 2;
  }
  Place place{std::move(*store),
              UniqueFd(::open(peer.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
  auto rows = rows_of_names(place);
  for (const auto size : kSizes) std::ranges::move(rows_of(place, size), std::back_inserter(rows));
  for (const auto& row : rows) {
    benchmark::RegisterBenchmark(
        row.name.c_str(),
        [&row](benchmark::State& state) { bench::compare(state, row.store, row.peer); })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
