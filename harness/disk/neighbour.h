// Somebody else on the file system of a recorded disk, whose calls make the kernel write what a
// short workload would leave in memory for seconds. One sequence of calls of the workload gives one
// sequence of the neighbour's: it needs no clock.
#pragma once

#include <cstdint>
#include <string_view>

#include "store/error.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

enum class NeighbourKind : std::uint8_t {
  kNone,        // nobody; at the end of the workload all is written back (syncfs)
  kCommits,     // fsyncs a file of its own after every storage call, and commits what else there is
                // to commit: metadata goes to the disk, the workload's data does not
  kWritesBack,  // writes back the workload's data after every storage call, and commits nothing
};

/// As in reports: "a neighbour that commits".
std::string_view to_string(NeighbourKind kind);

/// Move-only. Its calls are raw system calls, so that it can live in a process that is recorded or
/// disturbed by the shim, or in a child forked from the one that made it.
class Neighbour {
 public:
  /// `file_system`: its root; `work_directory`: the workload's. Descriptors, which must outlive it.
  static Result<Neighbour> create(NeighbourKind kind, int file_system, int work_directory);

  /// To be called after every storage call of the workload. What fails (a full disk) is left out.
  void after_call() const;

 private:
  Neighbour(NeighbourKind kind, int file_system, int work_directory, UniqueFd file)
      : kind_(kind),
        file_system_(file_system),
        work_directory_(work_directory),
        file_(std::move(file)) {}

  NeighbourKind kind_;
  int file_system_;
  int work_directory_;
  UniqueFd file_;              // kCommits: its own
  mutable bool mode_ = false;  // ... which of two modes it has
};

}  // namespace crashgate::harness
