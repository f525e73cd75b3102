// Makes chosen system calls of this process fail, for good, by a seccomp filter: in a forked child.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace crashgate::testing {

/// Argument number `index` (its low 32 bits), masked, has this value.
struct ArgumentIs {
  unsigned index;
  std::uint32_t value;
  std::uint32_t mask = 0xffffffff;
};

/// From here on `call` fails with `errno_value`, or only where an argument fits.
inline bool deny(long call, int errno_value, std::optional<ArgumentIs> argument = {}) {
  const ArgumentIs only = argument.value_or(ArgumentIs{0, 0, 0});
  const auto offset =
      static_cast<std::uint32_t>(offsetof(seccomp_data, args) + only.index * sizeof(std::uint64_t));
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, only.mask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, only.value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(errno_value)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{sizeof program / sizeof *program, program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace crashgate::testing
