// What a case that `crashgate check` saves says of who judges it: replay asks the same checker,
// after the same recovery.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "harness/check/check_run.h"
#include "harness/check/checker.h"

namespace crashgate::harness {

nlohmann::json case_subject(const CheckOptions& options);

/// Throws a json exception where the subject does not say.
CheckerOptions checker_of(const nlohmann::json& subject);

}  // namespace crashgate::harness
