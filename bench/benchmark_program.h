// The main function of a benchmark that works in a scratch directory of its own.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>

#include "harness/plan/scratch_directory.h"

namespace crashgate::bench {

/// Calls `add_rows` with the directory, which is removed at the end, runs the rows that it
/// registers, and returns the exit status.
template <typename AddRows>
int run_in_scratch_directory(int argc, char** argv, const AddRows& add_rows) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const auto scratch = harness::ScratchDirectory::create();
  if (!scratch) {
    std::fprintf(stderr, "%s: %s\n", argv[0], to_string(scratch.error()).c_str());
    return 2;
  }
  benchmark::AddCustomContext("directory", scratch->path());
  add_rows(scratch->path());
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace crashgate::bench
