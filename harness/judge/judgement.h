// What a judge says of one state that a crash left.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/judge/finding.h"

namespace crashgate::harness {

struct Judgement {
  bool accepted = true;
  FindingKind kind = FindingKind::kChecker;
  std::string message;  // what is wrong, in one line
  std::string cause;    // equal for equal causes
  std::string output;   // what a checker printed
};

/// Of rejections, between processes.
nlohmann::json to_json(const Judgement& judgement);
Judgement judgement_from_json(const nlohmann::json& json);

}  // namespace crashgate::harness
