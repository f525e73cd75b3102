// The exit statuses of DESIGN.md.
#pragma once

namespace crashgate::harness {

enum ExitStatus : int {
  kExitPass = 0,
  kExitViolation = 1,
  kExitBadInput = 2,
  kExitInconclusive = 3,
  kExitFailed = 4
};

}  // namespace crashgate::harness
