// Makes what a crash lost smaller, as long as the state is still wrong for the same reason.
//
// From the earliest loss on, since what comes later may need it: tries to keep a run of what is
// lost, twice as long a one after each success, half as long a one after a failure; until a pass
// changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

/// Numbers of micro-operations, or of pieces of a disk's writes; ascending.
using Loss = std::vector<std::uint32_t>;

/// Whether a state that loses `fewer` is still wrong: all that it lost then, less than what was
/// known to be wrong before; nothing: it is not.
using StillRejected = std::function<Result<std::optional<Loss>>(const Loss& fewer)>;

/// Asks at most `most_tries` times, and no more once a signal has interrupted the run.
Result<Loss> shrink_loss(Loss lost, std::size_t most_tries, const StillRejected& still_rejected);

}  // namespace crashgate::harness
