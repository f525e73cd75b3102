// What recovery should not have left.
#pragma once

#include <string>
#include <vector>

namespace crashgate::harness {

/// Files below `root` that hold data of a payload and are none of `keys` (sorted): sorted.
std::vector<std::string> find_leftovers(const std::string& root,
                                        const std::vector<std::string>& keys);

}  // namespace crashgate::harness
