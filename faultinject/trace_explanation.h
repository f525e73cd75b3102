// Does a trace explain what was found after it? Its events are applied to its initial tree, and the
// outcome is compared with its final one.
#pragma once

#include <string>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

/// One line for each file of the final tree that the events do not explain, and for each that they
/// should have left there: "name: its content is not what the recorded calls wrote". Empty for a
/// complete recording.
std::vector<std::string> unexplained_by(const Trace& trace);

}  // namespace crashgate::faultinject
