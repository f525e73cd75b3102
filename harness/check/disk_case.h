// A saved state of a recorded disk: a directory with case.json (what was found, and what judges
// it), disk.img (the disk as the crash leaves it, before recovery: `mount -o loop`), tree/ (the
// work directory as found after recovery, for looking at) and stdout (what had been told by then).
// `crashgate replay` mounts a copy of the disk and judges it again.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/disk/disk_exploration.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

struct DiskCase {
  std::string id;
  FindingKind kind = FindingKind::kChecker;
  std::string message;
  std::string cause;
  std::uint64_t seed = 0;
  FileSystemChoice choice;
  bool check_file_system = false;
  std::vector<std::string> disturbances;  // as in the report
  nlohmann::json subject;                 // what judges it: {"checker": ...} or {"store": ...}
  std::string told;                       // by the time of the crash
};

/// The path of a file in the case's directory.
std::string disk_image_path(const std::string& case_path);

/// Writes `directory`/`id`, replacing an older case of that id, and gives its path. `show` shows
/// the state to a visitor, as show_disk_state does.
Result<std::string> save_disk_case(
    const std::string& directory, const DiskCase& saved,
    const std::function<Result<void>(const DiskStateVisitor&)>& show);

/// `path`: the case's directory. InvalidArgument where it is no disk case of this version.
Result<DiskCase> load_disk_case(const std::string& path);
bool is_disk_case(const std::string& path);

}  // namespace crashgate::harness
