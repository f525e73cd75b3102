// Control of the shim where it is linked into the program (target crashgate::shim) rather than
// preloaded.
//
// The shim defines open, write, rename and the rest of the syscall table in front of libc's. Idle,
// each wrapper tests one atomic and calls through. Armed, each call is counted and noted in the
// page, waits for its turn where turns are on, and is disturbed as the rules say. Recording, each
// call that changes the recorded tree, forces it to disk or tells the world something goes into a
// log (recording_log.h).
//
// A preloaded shim arms itself from the environment: CRASHGATE_RULES (rules, one a line) and
// CRASHGATE_PAGE (path of a file holding the SharedPage; without it counters are private to a
// process), and records itself into the log that CRASHGATE_RECORDING names. It also obeys
// FIU_ENABLE and FIU_CTRL_FIFO as fiu-run sets them, unless libfiu's own fiu_run_preload.so is
// there to do so.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "faultinject/recording_log.h"
#include "faultinject/rule.h"
#include "faultinject/shared_page.h"

namespace crashgate::faultinject {

/// From here on this process's storage calls are intercepted. `page` must outlive the arming (null:
/// a private page); `process` (below kMaxProcesses) goes into records and turns; `with_turns`
/// requires turns_join to have been called. Rules are copied; at most kMaxRules. Match counters
/// start from what the page holds (the caller zeroes them). Not async-signal-safe; call while no
/// other thread makes storage calls. A forked child inherits the arming.
void arm(std::span<const Rule> rules, SharedPage* page, std::uint32_t process, bool with_turns);
/// Back to idle. Idempotent.
void disarm();

/// From here on this process's storage calls are recorded in `log`, which must outlive the
/// recording; as the rules left them, where rules are armed too. Not async-signal-safe; call while
/// no other thread makes storage calls. A forked child inherits the recording. `disk_stamp`: of the
/// recorded disk that the directory is on, or null; mapped before any of the recorded processes was
/// forked, and the same for all of them.
void start_recording(RecordingLog& log, const std::atomic<std::uint64_t>* disk_stamp = nullptr);
/// Idempotent.
void stop_recording();

/// From here on libfiu points do not act on this process. For a program that only hands its
/// environment on to another
/// (`fiu-run crashgate shim -- PROG`), whose own calls the points are not meant for.
void ignore_failure_points();

}  // namespace crashgate::faultinject
