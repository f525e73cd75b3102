// Micro-operations as reports have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "faultinject/trace.h"
#include "harness/crash_state/micro_operation.h"

namespace crashgate::harness {

/// Quickest in ascending order. Not thread-safe.
class MicroOperationTexts {
 public:
  /// Both must outlive it.
  MicroOperationTexts(const faultinject::Trace& trace, const MicroOperations& micro_operations);
  /// `entry "dir/name" of renameat`: the path is that at the time of the event, as far as it has
  /// one.
  std::string describe(std::uint32_t index);

 private:
  void begin();
  std::string path_of(FileId id) const;

  const faultinject::Trace& trace_;
  const MicroOperations& all_;
  /// Of each file the latest that it was given, by the micro-operations before named_.
  std::unordered_map<FileId, std::pair<FileId, std::string_view>> names_;
  std::uint32_t named_ = 0;
};

}  // namespace crashgate::harness
