// How many crash states a second are enumerated, trees and hashes included, nothing checked?
//
//   build/release/bin/crash_state_bench
//
// Each iteration enumerates a trace from the start. `states` are distinct; the rate counts them.
//   puts     a temporary file of 4 KiB, fsync, rename, fsync of the directory, told; 3 of them
//   (posix) puts_unsynced    the same without any fsync: far more states names    16 new files in a
//   directory that holds 10,000, no barrier: 65,536 states log      a record of 100 bytes and an
//   fdatasync, 100,000 times (ext4): work per event
#include <benchmark/benchmark.h>

#include <string>

#include "harness/crash_state/crash_state_enumerator.h"
#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

void enumerate(benchmark::State& state, const Trace& trace, std::string_view model) {
  std::uint64_t states = 0;
  for (auto unused : state) {
    CrashStateEnumerator enumerator(trace, *find_model(model), {});
    while (const CrashState* crash_state = enumerator.next()) {
      benchmark::DoNotOptimize(crash_state->tree_hash);
    }
    states += enumerator.states_given();
  }
  state.counters["states"] =
      benchmark::Counter(static_cast<double>(states), benchmark::Counter::kAvgIterations);
  state.counters["rate"] =
      benchmark::Counter(static_cast<double>(states), benchmark::Counter::kIsRate);
}

Trace puts(int count, bool synced) {
  TraceBuilder builder;
  for (int put = 0; put < count; ++put) {
    const std::string name = "object" + std::to_string(put);
    const FileId file = builder.create(name + ".tmp");
    builder.append(file, std::string(4096, static_cast<char>('a' + put)));
    if (synced) builder.fsync(file);
    builder.rename(name + ".tmp", name);
    if (synced) builder.fsync(kRootFile);
    builder.acknowledge(name + "\n");
  }
  return builder.finish();
}

void puts(benchmark::State& state) {
  enumerate(state, puts(3, true), "posix");
}
BENCHMARK(puts);

void puts_unsynced(benchmark::State& state) {
  enumerate(state, puts(3, false), "posix");
}
BENCHMARK(puts_unsynced);

void names(benchmark::State& state) {
  TraceBuilder builder;
  builder.mkdir("d");
  for (int file = 0; file < 10000; ++file) builder.create("d/old" + std::to_string(file));
  builder.start();
  for (int file = 0; file < 16; ++file) builder.create("d/new" + std::to_string(file));
  enumerate(state, builder.finish(), "posix");
}
BENCHMARK(names);

void log(benchmark::State& state) {
  TraceBuilder builder;
  const FileId file = builder.create("log");
  builder.start();
  for (int record = 0; record < 100000; ++record) {
    builder.append(file, std::string(100, 'r'));
    builder.fdatasync(file);
  }
  enumerate(state, builder.finish(), "ext4");
}
BENCHMARK(log)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crashgate::harness

BENCHMARK_MAIN();
