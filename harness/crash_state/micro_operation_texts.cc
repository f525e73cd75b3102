#include "harness/crash_state/micro_operation_texts.h"

#include <fmt/format.h>

#include "faultinject/syscall_table.h"

namespace crashgate::harness {

using faultinject::kNoFile;
using faultinject::Trace;

MicroOperationTexts::MicroOperationTexts(const Trace& trace, const MicroOperations& all)
    : trace_(trace), all_(all) {
  begin();
}

void MicroOperationTexts::begin() {
  names_.clear();
  named_ = 0;
  for (const auto& [id, file] : all_.start.files) {
    for (const auto& [name, child] : file.entries) names_[child] = {id, name};
  }
}

std::string MicroOperationTexts::path_of(FileId id) const {
  std::string path;
  for (int depth = 0; id != all_.start.root && depth < 100; ++depth) {
    const auto name = names_.find(id);
    if (name == names_.end())
      return "file " + std::to_string(id) + (path.empty() ? "" : "/") + path;
    path = std::string(name->second.second) + (path.empty() ? "" : "/") + path;
    id = name->second.first;
  }
  return path.empty() ? std::string(".") : path;
}

std::string MicroOperationTexts::describe(std::uint32_t index) {
  const MicroOperation& operation = all_.operations[index];
  const Location& location = all_.locations[operation.location];
  const std::uint32_t end = all_.first_of_event[operation.event];
  if (end < named_) begin();
  for (; named_ < end; ++named_) {
    const MicroOperation& earlier = all_.operations[named_];
    const Location& entry = all_.locations[earlier.location];
    if (entry.kind == LocationKind::kEntry && earlier.value.first != kNoFile)
      names_[earlier.value.first] = {entry.file, entry.name};
  }

  std::string what;
  switch (location.kind) {
    case LocationKind::kData:
      what = fmt::format("bytes {} to {} of {:?}", location.begin, location.end - 1,
                         path_of(location.file));
      break;
    case LocationKind::kSize:
      what = fmt::format("size {} of {:?}", operation.value.number, path_of(location.file));
      break;
    case LocationKind::kEntry:
      what = location.file == all_.start.root
                 ? fmt::format("entry {:?}", location.name)
                 : fmt::format("entry {:?}",
                               fmt::format("{}/{}", path_of(location.file), location.name));
      break;
    case LocationKind::kMode:
      what = fmt::format("mode of {:?}", path_of(location.file));
      break;
    case LocationKind::kOwner:
      what = fmt::format("owner of {:?}", path_of(location.file));
      break;
    case LocationKind::kExtendedAttribute:
      what = fmt::format("attribute {} of {:?}", location.name, path_of(location.file));
      break;
  }
  return fmt::format("{} of {} (event {})", what,
                     faultinject::row_info(trace_.events[operation.event].row).name,
                     operation.event);
}

}  // namespace crashgate::harness
