// From a rejected crash state, made minimal, to the finding of a report.
#pragma once

#include "harness/crash_state/crash_exploration.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

/// Without case. `engine`: as in reports.
Finding make_crash_finding(const faultinject::Trace& trace, const Rejection& rejection,
                           const Basis& basis, std::string engine);

/// Findings with one id are one: counts added, models joined.
void add_finding(std::vector<Finding>& findings, Finding finding);

}  // namespace crashgate::harness
