// Room for the data of a trace, which may be gigabytes and comes in pieces of kilobytes: with pages
// of the usual size, the kernel's work for each new one would cost as much as reading what goes
// into it, and moving all of it whenever it grows as much again.
#pragma once

#include <cstddef>
#include <string>

namespace crashgate::faultinject {

/// Makes the capacity of `bytes` its size and `more` at least. Beyond a megabyte it takes address
/// space generously, memory only as it is used.
void reserve_data(std::string& bytes, std::size_t more);

}  // namespace crashgate::faultinject
