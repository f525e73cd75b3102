// Storage calls that move bytes, cut short. Async-signal-safe; no allocation.
#pragma once

#include <cstdint>

#include "faultinject/raw_syscall.h"
#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

/// Bytes that the call asks to transfer; over all segments of an iovec.
std::uint64_t transfer_size(const RowInfo& row, const Arguments& arguments);
/// Performs the call with at most `limit` bytes. Where more than 64 segments would have to be
/// copied to cut inside one, it cuts at the end of a segment instead.
long transfer_at_most(const RowInfo& row, Arguments arguments, std::uint64_t limit);

}  // namespace crashgate::faultinject
