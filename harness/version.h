#pragma once

namespace crashgate::harness {

/// As in CMakeLists.txt, which checks that they agree.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace crashgate::harness
