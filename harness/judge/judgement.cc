#include "harness/judge/judgement.h"

#include <nlohmann/json.hpp>

namespace crashgate::harness {

using nlohmann::json;

json to_json(const Judgement& judgement) {
  return {{"kind", to_string(judgement.kind)},
          {"message", judgement.message},
          {"cause", judgement.cause},
          {"output", judgement.output}};
}

Judgement judgement_from_json(const json& from) {
  const auto kind = find_finding_kind(from.at("kind").get<std::string>());
  return {false, kind.value(), from.at("message"), from.at("cause"), from.at("output")};
}

}  // namespace crashgate::harness
