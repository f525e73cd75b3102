// What is read from a file is not to be trusted: whoever makes a directory tree of a trace would
// follow its names out of that directory, or count files and bytes that cannot be.
#pragma once

#include <string>

#include "faultinject/trace.h"

namespace crashgate::faultinject {

/// The first thing in a trace that no recorder says, in a few words; empty: none. A sound trace has
/// snapshots that are trees, names that are names, and files, offsets and data that can be: what
/// trace.h says of each field. That its events are possible one after the other is not asked.
std::string defect_of(const Trace& trace);

}  // namespace crashgate::faultinject
