// What became of disk states, a row a file system, for reports.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/crash_state/crash_exploration.h"
#include "harness/disk/disk_exploration.h"

namespace crashgate::harness {

/// "disk:ext4", as in `models` of a report.
std::string disk_model_name(const FileSystem& file_system);

/// Of one file system, over all of its recordings.
struct DiskRow {
  std::string name;
  std::uint64_t disk_states = 0;  // made and mounted
  ModelCount count;  // its states: distinct pairs of recovered tree and acknowledgements
};

/// Adds one recording's count to the row of its file system.
void add_to_rows(std::vector<DiskRow>& rows, const FileSystem& file_system, const DiskCount& count);

/// A member of `models` in the JSON object of DESIGN.md, with `disk_states`.
nlohmann::json to_json(const DiskRow& row);

}  // namespace crashgate::harness
