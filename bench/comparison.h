// Two ways of doing the same, measured in turns: A B A B ... within one run, so that what else the
// machine does meets both alike. One row of Google Benchmark's output is one comparison; its time
// is a round's, its counters are medians over the rounds.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace crashgate::bench {

/// Seconds that one operation took, or nothing where it failed (errno, if set, says why).
using Measurement = std::function<std::optional<double>()>;

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// One round an iteration. Counters: `per_s` and `peer_per_s`, operations per second of each, and
/// `ratio`, the time of `ours` by the time of `peer`, median of the rounds' ratios. The row must be
/// registered with UseManualTime().
inline void compare(benchmark::State& state, const Measurement& ours, const Measurement& peer) {
  std::vector<double> our_seconds;
  std::vector<double> peer_seconds;
  std::vector<double> ratios;
  while (state.KeepRunning()) {
    const auto start = std::chrono::steady_clock::now();
    const auto one = ours();
    const auto other = peer();
    const std::chrono::duration<double> round = std::chrono::steady_clock::now() - start;
    if (!one || !other) {
      state.SkipWithError(one ? "the peer failed" : "failed");
      return;
    }
    our_seconds.push_back(*one);
    peer_seconds.push_back(*other);
    ratios.push_back(*one / *other);
    state.SetIterationTime(round.count());
  }
  state.counters["per_s"] = 1 / median(our_seconds);
  state.counters["peer_per_s"] = 1 / median(peer_seconds);
  state.counters["ratio"] = median(ratios);
}

}  // namespace crashgate::bench
