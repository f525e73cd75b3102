// How `crashgate replay` of a crash case ends.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "harness/judge/finding.h"

namespace crashgate::harness {

/// The last lines: PASS, or what was wrong and FAIL. `answer`: accepted, else kind and message.
void print_replayed_verdict(FindingKind recorded, const nlohmann::json& answer);

}  // namespace crashgate::harness
