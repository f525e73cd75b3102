// What processes were told, as a saved case keeps it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "harness/plan/history.h"

namespace crashgate::harness {

/// Outcomes and answers; nothing of the storage calls.
nlohmann::json to_json(const std::vector<ProcessHistory>& processes);
/// Throws nlohmann::json::exception where `json` is something else.
std::vector<ProcessHistory> processes_from_json(const nlohmann::json& json);

}  // namespace crashgate::harness
