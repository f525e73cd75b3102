// The absolute paths that a storage call names, and shell-like patterns over them.
// Async-signal-safe; no allocation; uses about 5 KiB of stack; makes raw system calls only.
#pragma once

#include "faultinject/raw_syscall.h"
#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

/// Whether `text` matches `pattern`: * any bytes, slashes too; ? any one byte; others themselves.
bool glob_matches(const char* pattern, const char* text);

/// Whether one of the paths and descriptors of the call matches. `.`, `..` and doubled slashes are
/// resolved by text alone; the file of a descriptor is taken where it is now; a deleted one where
/// it was last.
bool call_path_matches(const RowInfo& row, const Arguments& arguments, const char* pattern);

}  // namespace crashgate::faultinject
