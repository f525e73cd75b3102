// `crashgate shim [RULE...] -- PROGRAM ARGUMENT...` and `crashgate shim --list`.
#pragma once

#include <span>
#include <string>

namespace crashgate::harness {

/// `arguments`: what follows the word shim. Gives the exit status.
int shim(std::span<const std::string> arguments);

}  // namespace crashgate::harness
