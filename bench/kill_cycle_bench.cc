// How many kill-and-check cycles a second does the harness make, against strace --inject?
//
//   kill_cycle_bench [Google Benchmark's options]
//
// A cycle: a fresh root on tmpfs, a process that opens the store and puts an object of 4 KiB, if
// absent, killed as it begins one chosen storage call; a second process that opens the store,
// recovers and looks; the verdict. A round is one cycle for every storage call of opening and
// putting. The peer does its cycles with two programs: `strace --inject=CALL:signal=SIGKILL:when=N
// store_writer put`, then `store_writer check`. (Ours asks more of the survivor: that the store
// works on, see survivor_operations in harness/plan/plan.h.)
//
// Row `against_strace`: `per_s` and `peer_per_s` are cycles per second, `ratio` is our time by the
// peer's (0.05: 20 times as fast); `cpu_us` and `peer_cpu_us` are the processor time of a cycle,
// all processes together, which depends less on what else the machine does. Row `alone`: our cycles
// only, with the page faults of one.
#include <benchmark/benchmark.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/benchmark_program.h"
#include "bench/child.h"
#include "bench/comparison.h"
#include "faultinject/syscall_table.h"
#include "harness/clock.h"
#include "harness/judge/describe.h"
#include "harness/judge/oracle.h"
#include "harness/plan/runner.h"
#include "harness/plan/scratch_directory.h"
#include "harness/store_under_test.h"

namespace {

using namespace crashgate;

// A storage call of the program that strace runs: strace counts each kind of call by itself.
struct StraceCase {
  std::string call;
  int when = 0;
};

// What this process and its reaped children have used so far.
struct Usage {
  double processor_seconds = 0;
  double page_faults = 0;
};

Usage usage_so_far() {
  Usage sum;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    struct rusage usage;
    ::getrusage(who, &usage);
    for (const auto& time : {usage.ru_utime, usage.ru_stime}) {
      sum.processor_seconds +=
          static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    }
    sum.page_faults += static_cast<double>(usage.ru_minflt);
  }
  return sum;
}

class OurCycles {
 public:
  explicit OurCycles(const std::string& directory) {
    harness::register_production_store();
    auto runner = harness::Runner::create(*harness::find_store("local-file"), directory);
    if (!runner) return;
    runner_.emplace(std::move(*runner));
    harness::Plan plan;
    plan.workers.push_back(
        {{.kind = harness::OperationKind::kPutIfAbsent, .key = "object", .size = 4096}});
    const auto undisturbed = runner_->run(plan);
    if (!undisturbed) return;
    for (const std::uint32_t operation : {0, 1}) {
      const auto count =
          static_cast<std::uint32_t>(harness::calls_of(*undisturbed, 0, operation).size());
      for (std::uint32_t call = 1; call <= count; ++call) {
        plan.faults = {
            {0, operation, harness::rule_at(call, call, faultinject::Action::kKillBefore)}};
        plans_.push_back(plan);
      }
    }
  }

  std::size_t cases() const { return plans_.size(); }

  std::optional<double> seconds_per_cycle() {
    if (plans_.empty()) return std::nullopt;
    const auto start = harness::Clock::now();
    for (const auto& plan : plans_) {
      const auto history = runner_->run(plan, {.hash_crash_tree = true});
      if (!history || history->kills != 1 || !harness::judge(*history).empty()) return std::nullopt;
    }
    return harness::seconds_since(start) / static_cast<double>(plans_.size());
  }

 private:
  std::optional<harness::Runner> runner_;
  std::vector<harness::Plan> plans_;
};

class StraceCycles {
 public:
  explicit StraceCycles(std::string directory) : directory_(std::move(directory)) {
    if (has_strace()) find_cases();
  }

  static bool has_strace() { return bench::has_program("strace"); }
  std::size_t cases() const { return cases_.size(); }

  std::optional<double> seconds_per_cycle() {
    if (cases_.empty()) return std::nullopt;
    const auto start = harness::Clock::now();
    for (const auto& one : cases_) {
      if (!cycle(one)) return std::nullopt;
    }
    return harness::seconds_since(start) / static_cast<double>(cases_.size());
  }

 private:
  // What the dynamic linker does comes before the first call that names the root.
  void find_cases() {
    const std::string root = directory_ + "/strace-root";
    const std::string trace = directory_ + "/strace-trace";
    bench::run({"strace", "-o", trace, bench::sibling("store_writer"), "put", root});
    std::map<std::string, int> seen;
    bool begun = false;
    std::ifstream lines(trace);
    for (std::string line; std::getline(lines, line);) {
      const auto call = line.substr(0, line.find('('));
      ++seen[call];
      begun = begun || (call != "execve" && line.find(root) != std::string::npos);
      if (begun && faultinject::find_row(call)) cases_.push_back({call, seen[call]});
    }
    (void)harness::remove_tree(root);
  }

  bool cycle(const StraceCase& one) {
    const std::string root = directory_ + "/strace-root";
    const std::string when =
        "--inject=" + one.call + ":signal=SIGKILL:when=" + std::to_string(one.when);
    if (::mkdir(root.c_str(), 0700) != 0) return false;
    const int killed = bench::run(
        {"strace", "-f", "-o", "/dev/null", when, bench::sibling("store_writer"), "put", root});
    const int checked = bench::run({bench::sibling("store_writer"), "check", root});
    const bool removed = harness::remove_tree(root).has_value();
    return WIFSIGNALED(killed) && WTERMSIG(killed) == SIGKILL && checked == 0 && removed;
  }

  std::string directory_;
  std::vector<StraceCase> cases_;
};

// The processor time of a cycle, over all rounds.
struct ProcessorTime {
  double seconds = 0;
  double cycles = 0;

  template <typename Cycles>
  std::optional<double> add(Cycles& of) {
    const double before = usage_so_far().processor_seconds;
    const auto per_cycle = of.seconds_per_cycle();
    seconds += usage_so_far().processor_seconds - before;
    cycles += static_cast<double>(of.cases());
    return per_cycle;
  }
  double microseconds() const { return seconds / cycles * 1e6; }
};

void against_strace(benchmark::State& state, const std::string& directory) {
  OurCycles ours(directory);
  StraceCycles peer(directory);
  ProcessorTime our_time;
  ProcessorTime peer_time;
  bench::compare(
      state, [&] { return our_time.add(ours); }, [&] { return peer_time.add(peer); });
  state.counters["cpu_us"] = our_time.microseconds();
  state.counters["peer_cpu_us"] = peer_time.microseconds();
  state.counters["cases"] = static_cast<double>(ours.cases());
  state.counters["peer_cases"] = static_cast<double>(peer.cases());
}

void alone(benchmark::State& state, const std::string& directory) {
  OurCycles ours(directory);
  std::vector<double> seconds;
  const Usage before = usage_so_far();
  while (state.KeepRunning()) {
    const auto one = ours.seconds_per_cycle();
    if (!one) {
      state.SkipWithError("failed");
      return;
    }
    state.SetIterationTime(*one * static_cast<double>(ours.cases()));
    seconds.push_back(*one);
  }
  const Usage after = usage_so_far();
  const auto cycles = static_cast<double>(seconds.size() * ours.cases());
  state.counters["per_s"] = 1 / bench::median(seconds);
  state.counters["cpu_us"] = (after.processor_seconds - before.processor_seconds) / cycles * 1e6;
  state.counters["page_faults"] = (after.page_faults - before.page_faults) / cycles;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_in_scratch_directory(argc, argv, [](const std::string& directory) {
    std::vector<benchmark::internal::Benchmark*> rows{
        benchmark::RegisterBenchmark("alone", &alone, directory)};
    if (StraceCycles::has_strace()) {
      rows.push_back(benchmark::RegisterBenchmark("against_strace", &against_strace, directory));
    } else {
      benchmark::AddCustomContext("left out", "strace is not installed");
    }
    for (auto* row : rows) row->UseManualTime()->Unit(benchmark::kMillisecond);
  });
}
