// What was explored under one persistence model, for reports.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "harness/crash_state/crash_exploration.h"

namespace crashgate::harness {

/// "  ext4      12 crash points   1,234 states   0.3 s  exhaustive".
std::string model_line(std::string_view name, const ModelCount& count);
/// A member of `models` in the JSON object of DESIGN.md.
nlohmann::json model_json(std::string_view name, const ModelCount& count);

}  // namespace crashgate::harness
