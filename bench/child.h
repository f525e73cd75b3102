// Programs that a benchmark starts and waits for.
#pragma once

#include <string>
#include <vector>

namespace crashgate::bench {

/// Variables to set in addition to the caller's environment, as "NAME=value".
using Variables = std::vector<std::string>;

/// Runs a program (found along PATH), with standard error to /dev/null, and waits for it. Its wait
/// status, or -1 where it could not be started. What it prints goes to `output`, or to /dev/null
/// where that is null.
int run(const std::vector<std::string>& command, const Variables& variables = {},
        std::string* output = nullptr);

/// Whether PATH has such a program.
bool has_program(const std::string& name);

/// The path of a program that was built next to the running one.
std::string sibling(const std::string& name);

}  // namespace crashgate::bench
