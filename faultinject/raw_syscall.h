// A system call without the C library: no errno, no cancellation, nothing that could be interposed.
#pragma once

#include <array>

namespace crashgate::faultinject {

using Arguments = std::array<long, 6>;

/// The kernel's answer: a value, or -errno in [-4095, -1].
inline long raw_syscall(long number, const Arguments& arguments = {}) {
  long result = number;
  register long fourth asm("r10") = arguments[3];
  register long fifth asm("r8") = arguments[4];
  register long sixth asm("r9") = arguments[5];
  asm volatile("syscall"
               : "+a"(result)
               : "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]), "r"(fourth), "r"(fifth),
                 "r"(sixth)
               : "rcx", "r11", "memory");
  return result;
}

inline bool is_error(long result) {
  return result < 0 && result >= -4095;
}

}  // namespace crashgate::faultinject
