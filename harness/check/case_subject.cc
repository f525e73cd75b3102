#include "harness/check/case_subject.h"

#include <nlohmann/json.hpp>

namespace crashgate::harness {

nlohmann::json case_subject(const CheckOptions& options) {
  return {{"checker", options.checker.command},
          {"loop", options.checker.loop},
          {"timeout", options.checker.timeout.count()},
          {"recover", options.checker.recover},
          {"workload", options.workload},
          {"setup", options.setup}};
}

CheckerOptions checker_of(const nlohmann::json& subject) {
  return {subject.at("checker"), subject.at("loop"),
          std::chrono::milliseconds(subject.at("timeout")), subject.at("recover")};
}

}  // namespace crashgate::harness
