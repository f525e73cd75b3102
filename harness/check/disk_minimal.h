// From the rejections of an exploration of recorded disks to findings: those of one cause are one,
// the one that lost least is made minimal and saved.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/disk/disk_exploration.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

struct DiskFindingOptions {
  DiskExplorationOptions exploring;                             // as it was
  std::string out;                                              // where cases go
  std::vector<std::string> ignored;                             // globs of disposable files
  std::function<nlohmann::json(std::size_t subject)> judge_of;  // DiskCase::subject
};

/// Gives findings with their cases. `subject_of`: of each finding, the example's; may be null. What
/// could not be saved is added to `notes`. Mounts in a process of its own.
Result<std::vector<Finding>> find_on_disks(const std::vector<DiskSubject>& subjects,
                                           const std::vector<DiskRejection>& rejections,
                                           const DiskFindingOptions& options,
                                           std::vector<std::string>& notes,
                                           std::vector<std::size_t>* subject_of = nullptr);

}  // namespace crashgate::harness
