// What a trace predicts: its events applied to its initial tree, in a small way of its own that
// shares nothing with the harness. For tests that compare it with the tree that was found.
#pragma once

#include <string>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

/// "": `trace` is sound, and its events lead from its initial to its final tree. Else what is
/// wrong: its defect, or what differs and the events.
std::string prediction_error(const Trace& trace);

}  // namespace crashgate::faultinject
