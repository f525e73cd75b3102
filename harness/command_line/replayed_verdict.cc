#include "harness/command_line/replayed_verdict.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

namespace crashgate::harness {

void print_replayed_verdict(FindingKind recorded, const nlohmann::json& answer) {
  if (answer.at("accepted")) {
    fmt::print("PASS: the violation ({}) did not show\n", to_string(recorded));
    return;
  }
  const std::string kind = answer.at("kind");
  fmt::print("{}: {}\n", kind, answer.at("message").get<std::string>());
  fmt::print("FAIL: {}\n", kind == to_string(recorded) ? "as recorded"
                                                       : "another violation than the recorded " +
                                                             std::string(to_string(recorded)));
}

}  // namespace crashgate::harness
