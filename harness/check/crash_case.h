// A saved crash state: a directory with case.json (what was found, and how to build the state
// again), trace (the recording it comes from), tree/ (the directory as the crash leaves it, for
// looking at) and stdout (what had been told by then). `crashgate replay` builds and judges it
// again.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "faultinject/trace.h"
#include "harness/crash_state/crash_exploration.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

struct CrashCase {
  std::string id;
  FindingKind kind = FindingKind::kChecker;
  std::string message;
  std::uint64_t seed = 0;
  Rejection rejection;  // the example: model, crash point, what is lost
  Basis basis;
  /// What judges it: {"checker": ...} or {"store": ...}. The trace of a recovery comes with "told",
  /// what the workload had told, and "first_crash", lines about how the recovery came about.
  nlohmann::json subject;
  faultinject::Trace trace;
};

/// Writes `directory`/`id`, replacing an older case of that id, and gives its path.
Result<std::string> save_crash_case(const std::string& directory, const CrashCase& saved);
/// `path`: the case's directory. InvalidArgument where it is no crash case of this version.
Result<CrashCase> load_crash_case(const std::string& path);
/// Whether a case is of this form; the other is harness/report/saved_case.h.
bool is_crash_case(const std::string& path);

/// The rejected state, from the case's trace; null where the model does not allow it any more.
const CrashState* rebuild(const CrashCase& saved, CrashStateEnumerator& states);

}  // namespace crashgate::harness
