#include "harness/engine/engine.h"

namespace crashgate::harness {
namespace {

constexpr Engine kEngines[] = {
    {"kill",
     "kills one process before, in the middle of and after every storage call, and its recovery "
     "likewise",
     0.1, false, run_kill_engine},
    {"power",
     "cuts the power at every moment of recorded runs, in every way that a persistence model "
     "allows",
     0.2, true, run_power_engine},
    {"fault",
     "makes every storage call fail with every errno that it may return, or transfer less than "
     "asked",
     0.12, false, run_fault_engine},
    {"foreign",
     "puts symlinks, FIFOs, sockets, devices and directories at keys and above them, and tries "
     "every operation there",
     0.07, false, run_foreign_engine},
    {"interleave",
     "lets a second process run at every storage call of a first, which then goes on, fails or "
     "dies",
     0.26, false, run_interleave_engine},
    {"contended",
     "generated workers on shared keys, killed and disturbed at seeded calls while the others go "
     "on",
     0.12, false, run_contended_engine},
    // Last: what it has recorded stays in memory, which makes every fork that follows dearer.
    {"disk",
     "cuts the power of recorded disks of ext4, xfs and btrfs, and looks at what the file systems "
     "recover",
     0.2, true, run_disk_engine},
};

}  // namespace

std::span<const Engine> engines() {
  return kEngines;
}

}  // namespace crashgate::harness
