// A saved case: a directory with case.json (the plan, the order of storage calls, what was found)
// and tree/ (the store's root as the crash left it, for looking at). `crashgate replay` runs it
// again.
#pragma once

#include <string>
#include <vector>

#include "harness/plan/plan.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

struct SavedCase {
  std::string store;
  std::string id;
  FindingKind kind = FindingKind::kOrder;
  std::string message;
  std::uint64_t seed = 0;
  Plan plan;
  std::vector<std::pair<std::uint32_t, std::string>> calls;  // process and row, in order of effect
};

/// Process and row of every call of a run.
std::vector<std::pair<std::uint32_t, std::string>> call_order(const History& history);

/// Writes `directory`/`id`, replacing an older case of that id, and gives its path. `tree_from`:
/// copied to tree/.
Result<std::string> save_case(const std::string& directory, const SavedCase& saved,
                              const std::string& tree_from);
/// `path`: the case's directory, or its case.json. InvalidArgument where it is no case of this
/// version.
Result<SavedCase> load_case(const std::string& path);

}  // namespace crashgate::harness
