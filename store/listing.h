// Every key below a root that begins with a prefix.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace crashgate {

/// Sorted by bytes, each once. Holds one directory open at a time, however deep the tree.
Result<std::vector<std::string>> list_keys(int root, std::string_view prefix);

}  // namespace crashgate
