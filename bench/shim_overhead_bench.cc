// What does the shim cost a storage call, when idle and when armed, against no shim and against
// libfiu's own preload?
//
//   shim_overhead_bench [Google Benchmark's options]
//
// What is preloaded is decided when a program starts, so a round starts bench/call_loop.cc twice on
// tmpfs: under the environment in question, then under the plain one; only the loop is timed.
// `per_s` and `peer_per_s` (the peer is the plain program) are calls per second, `ratio` is the
// time of a call by its time in the plain program. Rows:
//
//   idle        libcrashgate_shim.so preloaded, no rules
//   armed       with a rule for another call
//   armed_glob  with a rule for this call on files that are not there
//   fiu_run     libfiu's posix preload, no failure point enabled (`fiu-run -x`)
//   plain       the plain program again: how far the ratios may be trusted
#include <benchmark/benchmark.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "bench/benchmark_program.h"
#include "bench/child.h"
#include "bench/comparison.h"
#include "harness/plan/scratch_directory.h"

namespace {

using namespace crashgate;

constexpr const char* kCallsPerLoop = "50000";
const std::string kPreload = std::string("LD_PRELOAD=") + CRASHGATE_SHIM_PATH;

struct Environment {
  std::string name;
  std::vector<std::string> launcher;
  bench::Variables variables;
};

std::vector<Environment> environments() {
  std::vector<Environment> result{
      {"plain", {}, {}},
      {"idle", {}, {kPreload}},
      {"armed", {}, {kPreload, "CRASHGATE_RULES=mknod:error=EIO"}},
      {"armed_glob", {}, {kPreload, "CRASHGATE_RULES=all@/nowhere/*:error=EIO"}}};
  if (bench::has_program("fiu-run")) result.push_back({"fiu_run", {"fiu-run", "-x"}, {}});
  return result;
}

std::optional<double> seconds_per_call(const Environment& environment, const std::string& call,
                                       const std::string& directory) {
  std::vector<std::string> command = environment.launcher;
  command.insert(command.end(), {bench::sibling("call_loop"), call, directory, kCallsPerLoop});
  std::string output;
  if (bench::run(command, environment.variables, &output) != 0) return std::nullopt;
  const double nanoseconds = std::strtod(output.c_str(), nullptr);
  return nanoseconds > 0 ? std::optional(nanoseconds / 1e9) : std::nullopt;
}

void against_plain(benchmark::State& state, const Environment& environment, const std::string& call,
                   const std::string& directory) {
  bench::compare(
      state, [&] { return seconds_per_call(environment, call, directory); },
      [&] { return seconds_per_call({}, call, directory); });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_in_scratch_directory(argc, argv, [](const std::string& directory) {
    if (!bench::has_program("fiu-run")) {
      benchmark::AddCustomContext("left out", "fiu-run is not installed");
    }
    std::string calls;
    bench::run({bench::sibling("call_loop"), "--list"}, {}, &calls);
    std::istringstream lines(calls);
    for (std::string call; std::getline(lines, call);) {
      for (const auto& environment : environments()) {
        benchmark::RegisterBenchmark((call + "/" + environment.name).c_str(), &against_plain,
                                     environment, call, directory)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  });
}
