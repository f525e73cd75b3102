// From a rejected crash state, made minimal, to the finding of a report.
#pragma once

#include "harness/check/fix.h"
#include "harness/crash_state/crash_exploration.h"
#include "harness/report/finding_report.h"

namespace crashgate::harness {

/// Without case. `engine`: as in reports. Its id is that of what was lost: equal for the same calls
/// on files of the same names, numbers in them aside.
Finding make_crash_finding(const faultinject::Trace& trace, const Rejection& rejection,
                           const Basis& basis, std::string engine);

/// As a finding names an event of the trace.
FindingEvent finding_event(const faultinject::Trace& trace, std::size_t index);

/// Of what had been told, as much as a report shows.
void keep_latest(std::vector<FindingEvent>& acknowledged);

/// As a report names it.
FindingFix make_finding_fix(const faultinject::Trace& trace, const Fix& fix);

/// A finding, and the state that shows it.
struct CrashFinding {
  Finding finding;
  Rejection rejection;
};

/// Findings of one id are one, the gravest and then the one that lost least: counts added, models
/// joined.
void add_crash_finding(std::vector<CrashFinding>& findings, CrashFinding added);

}  // namespace crashgate::harness
