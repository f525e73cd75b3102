// Words as a shell takes them, for lines that are there to be run again.
#pragma once

#include <string>
#include <string_view>

namespace crashgate::harness {

/// The word as it is where a shell would leave it alone, else quoted.
std::string shell_word(std::string_view word);

}  // namespace crashgate::harness
