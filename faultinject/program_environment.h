// The environment of a program that is to be started, and the null-terminated arrays that execve
// takes.
#pragma once

#include <string>
#include <vector>

namespace crashgate::faultinject {

/// Ours, with these ("NAME=value") added or in place of variables of the same name.
std::vector<std::string> merged_environment(const std::vector<std::string>& additions);

/// Into `texts`, which must outlive the result; a null at the end.
std::vector<char*> pointers(std::vector<std::string>& texts);

}  // namespace crashgate::faultinject
