// Runs litmus programs on recorded disks, each with each help on each file system, in several
// processes, and compares what is seen with the models.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/crash_state/persistence_model.h"
#include "harness/disk/file_system.h"
#include "harness/litmus/litmus_comparison.h"
#include "harness/litmus/litmus_program.h"
#include "store/error.h"

namespace crashgate::harness {

struct LitmusOptions {
  std::vector<FileSystemChoice> file_systems;
  /// By file system; empty: those of their names.
  std::vector<const PersistenceModel*> models;
  std::vector<LitmusProgram> programs;
  std::uint64_t random = 0;  // so many generated programs on each file system
  bool is_long = false;      // helps that sleep, instead of those that do not
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  double budget_seconds = 0;                  // 0: none
  std::uint64_t disk_state_limit = 400;       // of one recording
  std::uint64_t model_state_limit = 200'000;  // of one recording
  /// Of writes of the disk and of writes of the program alike: what the disk tears, the model can
  /// express. A block is cut after the first of its sectors that a write touches, which on the disk
  /// is the block's first; a write of a program that has that sector and others is cut there too.
  Basis basis{.blocks = 64, .tears = 1};
  std::function<void(std::uint64_t recordings, std::uint64_t all)> progress = {};
};

/// What one recording showed.
struct LitmusResult {
  std::string program;
  std::string fact;
  std::string help;
  std::string file_system;        // as to_string(FileSystemChoice)
  std::uint64_t states = 0;       // of the disk, recovered
  std::uint64_t unmountable = 0;  // of these
  std::uint64_t unreadable = 0;
  std::string damage;  // what the first of these said
  std::uint64_t crash_points = 0;
  bool disk_exhaustive = false;
  bool model_exhaustive = false;
  std::uint64_t allowed = 0;           // pairs of tree and acknowledgements
  std::uint64_t seen_and_allowed = 0;  // of these
  std::uint64_t undecided = 0;         // states; the model has more than were enumerated
  std::set<std::string> outcomes_allowed;
  std::map<std::string, std::uint64_t> outcomes_seen;
  std::vector<std::string> contradictions;  // each a text of several lines
  double seconds_recording = 0;
  double seconds_model = 0;
  double seconds_states = 0;
};

struct LitmusRun {
  std::vector<LitmusResult> results;  // in order of help, program, file system; random ones last
  std::uint64_t left_out = 0;         // recordings that the budget left no time for
  double seconds = 0;
  bool interrupted = false;
};

/// Needs what a recorded disk needs. InvalidArgument: mkfs or mount do not take the options.
Result<LitmusRun> run_litmus(const LitmusOptions& options);

}  // namespace crashgate::harness
