// What does being recorded cost a storage call?
//
//   recording_overhead_bench [Google Benchmark's options]
//
// A round runs bench/call_loop.cc on tmpfs twice: recorded, then by itself. `per_s` and
// `peer_per_s` (the peer is the program by itself) are calls per second inside the program, `ratio`
// is the mean time of a call by that in the plain program. Rows are CALL/RECORDER:
//
//   pwrite_4096    4 KiB over what is there      append_4096  4 KiB at the end: needs new memory
//   fsync          costs next to nothing on tmpfs, so what is seen is the recorder alone
//
//   preload, ptrace   the recorders of faultinject/
//   strace            `strace -f` of all calls, to /dev/null
//   plain             by itself again: how far the ratios may be trusted
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/benchmark_program.h"
#include "bench/child.h"
#include "bench/comparison.h"
#include "faultinject/preload_recorder.h"
#include "faultinject/ptrace_recorder.h"
#include "harness/plan/scratch_directory.h"

namespace {

using namespace crashgate;

constexpr const char* kCallsPerLoop = "100000";

/// What the loop printed: seconds per call, the mean.
std::optional<double> seconds_per_call(const std::string& output) {
  const auto space = output.find(' ');
  if (space == std::string::npos) return std::nullopt;
  const double nanoseconds = std::strtod(output.c_str() + space, nullptr);
  return nanoseconds > 0 ? std::optional(nanoseconds / 1e9) : std::nullopt;
}

using Command = std::vector<std::string>;

std::optional<double> plain(Command command, const std::string& launcher) {
  if (!launcher.empty()) command.insert(command.begin(), {launcher, "-f", "-o", "/dev/null"});
  std::string output;
  if (bench::run(command, {}, &output) != 0) return std::nullopt;
  return seconds_per_call(output);
}

template <typename Recorder>
std::optional<double> recorded(Recorder record, const Command& command,
                               const std::string& directory) {
  faultinject::RecordOptions options;
  options.command = command;
  options.directory = directory;
  const auto recording = record(options);
  if (!recording || recording->exit_status != 0) return std::nullopt;
  std::string output;
  for (const auto& event : recording->trace.events) {
    if (event.kind == faultinject::EventKind::kAcknowledgement)
      output += recording->trace.data(event.data);
  }
  return seconds_per_call(output);
}

struct Watcher {
  std::string name;
  std::function<std::optional<double>(const Command&, const std::string&)> run;
};

std::vector<Watcher> watchers() {
  std::vector<Watcher> result{
      {"plain", [](const Command& command, const std::string&) { return plain(command, ""); }},
      {"preload",
       [](const Command& command, const std::string& directory) {
         return recorded(faultinject::record_with_preload, command, directory);
       }},
      {"ptrace", [](const Command& command, const std::string& directory) {
         return recorded(faultinject::record_with_ptrace, command, directory);
       }}};
  if (bench::has_program("strace")) {
    result.push_back({"strace", [](const Command& command, const std::string&) {
                        return plain(command, "strace");
                      }});
  }
  return result;
}

void against_plain(benchmark::State& state, const Watcher& watcher, const std::string& call,
                   const std::string& directory) {
  const Command command = {bench::sibling("call_loop"), call, directory, kCallsPerLoop};
  bench::compare(
      state, [&] { return watcher.run(command, directory); }, [&] { return plain(command, ""); });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_in_scratch_directory(argc, argv, [](const std::string& directory) {
    if (!bench::has_program("strace")) {
      benchmark::AddCustomContext("left out", "strace is not installed");
    }
    for (const char* call : {"pwrite_4096", "append_4096", "fsync"}) {
      for (const Watcher& watcher : watchers()) {
        benchmark::RegisterBenchmark((std::string(call) + "/" + watcher.name).c_str(),
                                     &against_plain, watcher, call, directory)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  });
}
