// The random numbers that a store under test gets: part of the plan, as the turns are.
//
// Stores name temporaries at random, and some file systems (ext4) list a directory in the order of
// a hash of its names. What a recover meets first, and so which call a change of turn or a kill
// comes before, would depend on luck. Therefore getrandom of the C library is defined here once
// more, in front of it. Not covered: arc4random, getentropy, std::random_device, /dev/urandom, and
// the process id, which is the plan's only where Plan::same_process_ids says so.
#pragma once

#include <cstdint>

namespace crashgate::harness {

/// From here on, in this process and its children, getrandom gives the numbers of the stream
/// `process`: the same in every run, others for every process. Before, it asks the kernel.
void determine_random_numbers(std::uint32_t process);

}  // namespace crashgate::harness
