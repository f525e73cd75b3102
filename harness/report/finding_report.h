// A finding as people and programs read it, and as it is saved.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/engine/minimizer.h"
#include "harness/judge/finding.h"

namespace crashgate::harness {

/// One event of a finding: an acknowledgement, or a storage call. `seq` is its position in the
/// recorded order of calls.
struct FindingEvent {
  std::uint64_t seq = 0;
  std::string call;
  std::string path;         // the key, or the file in the recorded directory
  std::string source = {};  // "file.c:12 (function)"; empty: not known
};

/// Barriers that prevent a finding, as a report names them.
struct FindingFix {
  struct Barrier {
    FindingEvent after;
    std::string call;
    std::string path;
  };
  std::vector<Barrier> barriers;
  std::uint64_t states = 0;  // that were judged with them
  bool verified = false;     // they were all that there are
};

struct Finding {
  std::string id;  // 8 hexadecimal digits, equal for equal causes
  FindingKind kind = FindingKind::kOrder;
  std::string message;  // what was seen, and after what
  std::string seen;     // the first half of it
  std::string engine;
  std::vector<std::string> models;   // under which it happens
  std::uint64_t count = 0;           // runs, or crash states, that showed it
  std::string_view counted = "run";  // or "crash state"
  std::vector<FindingEvent> acknowledged;
  std::vector<FindingEvent> crash_after;
  std::vector<FindingEvent> lost;
  std::vector<std::string> disturbances;  // describe_disturbances
  std::vector<std::string> processes;     // what each did, a line each
  std::optional<FindingFix> fix;
  std::string case_path;  // for `crashgate replay`; empty: not saved
};

/// As in reports, from a blank line to the line that replays it.
std::string to_text(const Finding& finding);
nlohmann::json to_json(const Finding& finding);

/// What each process of a plan did, a line each.
std::vector<std::string> describe_processes(const Plan& plan);

/// 8 hexadecimal digits of a hash: a finding's id from its cause.
std::string id_of(std::string_view cause);

/// The finding that a minimized failure amounts to, without engine, count and case.
Finding make_finding(const Minimized& minimized);

}  // namespace crashgate::harness
