// The disk engine of `crashgate check`: the workload runs on recorded disks, each file system with
// each neighbour once, and the checker judges what the file systems recover.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "harness/check/check_run.h"
#include "harness/disk/disk_exploration.h"
#include "store/error.h"

namespace crashgate::harness {

class DiskCheck {
 public:
  /// `scratch`: the run's. `directory`: there and empty; the workload works at this path. `options`
  /// must outlive it.
  DiskCheck(const CheckOptions& options, std::string scratch, std::string directory);

  /// Nothing is wanted of it, or this machine cannot do it (report() says which): leave it out.
  bool is_off() const { return choices_.empty(); }

  /// InvalidArgument: bad options of mkfs or mount, or the workload fails there.
  Result<void> record();
  Result<void> explore(std::chrono::steady_clock::time_point deadline);
  /// Findings, made minimal and saved. What could not be saved is in report().notes.
  Result<std::vector<Finding>> find();

  DiskReport& report() { return report_; }

 private:
  DiskWorkload workload(const FileSystemChoice& choice) const;
  std::vector<DiskSubject> subjects() const;
  DiskExplorationOptions exploring() const;
  void show(std::string_view stage, std::uint64_t states) const;

  const CheckOptions& options_;
  std::string scratch_;
  std::string directory_;
  std::vector<FileSystemChoice> choices_;  // of those that this machine has
  std::vector<DiskRecording> recordings_;
  DiskExploration exploration_;
  DiskReport report_;
};

}  // namespace crashgate::harness
