// What an engine is: a name, what it needs of the machine, and a function that explores a store.
// The table in engines.cc lists them all; nothing else knows how many there are.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "harness/engine/exploration.h"
#include "harness/engine/store_crash.h"
#include "harness/engine/store_disk.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {

struct EngineOptions {
  ExploreOptions explore;
  std::uint64_t seed = 1;
  bool unbounded = false;  // the contended engine goes on until the deadline or the run limit
  std::vector<const PersistenceModel*> models;  // of power loss
  Basis basis;                                  // likewise
};

/// What the power engine explored: the recordings, and what became of their crash states.
struct StoreCrashResult {
  std::shared_ptr<std::vector<StoreRecording>> recordings;  // the subjects
  CrashExploration exploration;
};

/// What the disk engine explored, likewise.
struct StoreDiskResult {
  ScratchDirectory scratch;  // where the recordings had their directory
  std::vector<StoreDiskRecording> recordings;
  DiskExplorationOptions options;
  DiskExploration exploration;
};
/// `result` must outlive them.
std::vector<DiskSubject> subjects_of(const StoreEntry& store, const StoreDiskResult& result);

struct EngineResult {
  std::string_view name;
  std::string skipped;      // why this machine cannot run it; empty: it ran
  std::string left_out;     // part of it that this machine cannot run, and why; empty: nothing
  bool exhaustive = false;  // every unit of the stated basis was done
  std::string basis;        // what "every" means here, for people
  std::uint64_t units = 0;  // of the basis; 0: unbounded
  double seconds = 0;
  Exploration exploration;
  std::shared_ptr<StoreCrashResult> crash;  // of the power engine only
  std::shared_ptr<StoreDiskResult> disk;    // of the disk engine only
};

struct Engine {
  std::string_view name;  // as in reports and --require
  std::string_view description;
  double share;     // of the time budget
  bool cuts_power;  // explores the models of power loss; else the kill model
  Result<EngineResult> (*run)(const StoreEntry& store, const EngineOptions& options);
};

std::span<const Engine> engines();

Result<EngineResult> run_kill_engine(const StoreEntry& store, const EngineOptions& options);
Result<EngineResult> run_fault_engine(const StoreEntry& store, const EngineOptions& options);
Result<EngineResult> run_foreign_engine(const StoreEntry& store, const EngineOptions& options);
Result<EngineResult> run_interleave_engine(const StoreEntry& store, const EngineOptions& options);
Result<EngineResult> run_power_engine(const StoreEntry& store, const EngineOptions& options);
Result<EngineResult> run_disk_engine(const StoreEntry& store, const EngineOptions& options);
/// The same on other plans (no faults), each recorded with each neighbour.
struct DiskEngineBasis {
  std::vector<Plan> plans;
  std::vector<NeighbourKind> neighbours;
};
Result<EngineResult> run_disk_engine(const StoreEntry& store, const DiskEngineBasis& basis,
                                     const EngineOptions& options);
Result<EngineResult> run_contended_engine(const StoreEntry& store, const EngineOptions& options);

}  // namespace crashgate::harness
