// What does it cost to have a crash state checked, beyond what the checker itself costs?
//
//   checker_bench [Google Benchmark's options]
//
// The checker (bench/state_checker.cc) reads the four files of 4 KiB of a state on tmpfs. Rows:
//
//   once   Checker starts it for each state; the peer is a bare fork, exec and wait of the same
//          program in the same directory. `per_s` and `peer_per_s` are states per second.
//   loop   Checker keeps it running, and asks (`per_s`)
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>

#include "bench/child.h"
#include "bench/comparison.h"
#include "harness/check/checker.h"
#include "harness/clock.h"
#include "harness/plan/scratch_directory.h"

namespace {

using namespace crashgate;

constexpr int kChecksPerRound = 50;

template <typename Check>
std::optional<double> seconds_of(Check check) {
  const auto start = harness::Clock::now();
  for (int i = 0; i < kChecksPerRound; ++i) {
    if (!check()) return std::nullopt;
  }
  return harness::seconds_since(start) / kChecksPerRound;
}

bool run_bare(const std::string& program, const std::string& directory) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::chdir(directory.c_str()) == 0)
      ::execl(program.c_str(), program.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = -1;
  return pid > 0 && ::waitpid(pid, &status, 0) == pid && status == 0;
}

void ask_loop(benchmark::State& state, harness::Checker& checker, const std::string& directory) {
  for (auto _ : state) {
    if (checker.check(directory, "none").answer == harness::Answer::kAccepted) continue;
    state.SkipWithError("rejected");
    return;
  }
  state.counters["per_s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const auto scratch = harness::ScratchDirectory::create();
  if (!scratch) {
    std::fprintf(stderr, "%s\n", to_string(scratch.error()).c_str());
    return 1;
  }
  const auto& directory = scratch->path();
  for (int i = 0; i < 4; ++i)
    std::ofstream(directory + "/file" + std::to_string(i)) << std::string(4096, 'x');
  const auto program = bench::sibling("state_checker");
  auto once = harness::Checker::create({.command = program});
  auto loop = harness::Checker::create({.command = program + " loop", .loop = true});
  if (!once || !loop) return 1;

  benchmark::RegisterBenchmark("once", [&](benchmark::State& state) {
    bench::compare(
        state,
        [&] {
          return seconds_of(
              [&] { return once->check(directory, "none").answer == harness::Answer::kAccepted; });
        },
        [&] { return seconds_of([&] { return run_bare(program, directory); }); });
  })->UseManualTime();
  benchmark::RegisterBenchmark("loop", [&](benchmark::State& state) {
    ask_loop(state, *loop, directory);
  })->UseRealTime();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
