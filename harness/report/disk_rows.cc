#include "harness/report/disk_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/report/model_report.h"

namespace crashgate::harness {

std::string disk_model_name(const FileSystem& file_system) {
  return "disk:" + std::string(file_system.name);
}

void add_to_rows(std::vector<DiskRow>& rows, const FileSystem& file_system,
                 const DiskCount& added) {
  const auto name = disk_model_name(file_system);
  auto row = std::ranges::find(rows, name, &DiskRow::name);
  if (row == rows.end()) row = rows.insert(rows.end(), DiskRow{name});
  row->disk_states += added.states;
  auto& count = row->count;
  count.crash_points += added.crash_points;
  count.states += added.trees;
  count.exhaustive = count.exhaustive && added.exhaustive;
  count.seconds += added.seconds;
  const double first = added.seconds_to_first_rejection;
  if (first >= 0 &&
      (count.seconds_to_first_rejection < 0 || first < count.seconds_to_first_rejection))
    count.seconds_to_first_rejection = first;
}

nlohmann::json to_json(const DiskRow& row) {
  auto json = model_json(row.name, row.count);
  json["disk_states"] = row.disk_states;
  return json;
}

}  // namespace crashgate::harness
