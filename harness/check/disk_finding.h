// From a rejected state of a recorded disk, made minimal, to the finding of a report.
#pragma once

#include <string>
#include <vector>

#include "harness/disk/disk_exploration.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

/// "disk:ext4", as in `models` of a report.
std::string disk_model_name(const FileSystem& file_system);

/// Equal for one cause, whatever the file system.
std::string disk_finding_id(const Judgement& judgement);

/// Without case. `pieces`: of the enumerator of the recording's states. `difference`: between what
/// the recorded calls make of the directory and what was recovered; empty: not known.
Finding make_disk_finding(const DiskRecording& recording, const std::vector<DiskPiece>& pieces,
                          const DiskRejection& rejection, const std::string& difference);

/// Between what the workload's calls, as far as they had returned at `stamp`, make of the
/// directory, and what stands there. Files of the globs do not count.
std::string difference_after_recovery(const DiskRecording& recording, std::uint64_t stamp,
                                      const std::string& directory,
                                      const std::vector<std::string>& ignored);

}  // namespace crashgate::harness
