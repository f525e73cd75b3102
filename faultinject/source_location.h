// From the program counters of a trace to functions and lines, by the debugging information of the
// files that were recorded, as they are now: a program that was built anew gives wrong answers or
// none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

struct SourceLocation {
  std::string module;    // path of the program or library
  std::string function;  // demangled; empty: not known
  std::string file;      // empty: no debugging information
  int line = 0;
};

/// Reads each file's debugging information once. Not thread-safe.
class SourceLocator {
 public:
  /// `trace` must outlive it.
  explicit SourceLocator(const Trace& trace);
  ~SourceLocator();

  /// What a program counter of the event's stack stands for. Nothing: in no known file.
  std::optional<SourceLocation> locate(const TraceEvent& event, std::uint64_t counter);
  /// The innermost call of the event's stack that has a line and is not in the C library or a
  /// header of the system: whoever is to blame. Nothing where no stack was recorded, or no frame
  /// has a line.
  std::optional<SourceLocation> caller(const TraceEvent& event);

 private:
  struct Files;
  const Trace& trace_;
  std::unique_ptr<Files> files_;
};

}  // namespace crashgate::faultinject
