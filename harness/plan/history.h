// What happened in one run of a plan: which operation began and returned when, with what answer.
// Written by the processes under test into shared memory as they go, so that it is there when one
// of them is killed; read by the oracle.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "faultinject/shared_page.h"
#include "harness/plan/payload.h"
#include "harness/plan/plan.h"

namespace crashgate::harness {

enum class Outcome : std::uint8_t { kNotBegun, kPending, kOk, kError };

/// One operation of one process. Stamps count up over all processes; turns make them deterministic.
struct Event {
  Outcome outcome = Outcome::kNotBegun;
  ErrorCode code = ErrorCode::kIo;  // kError
  std::int32_t errno_value = 0;     // kError
  std::uint64_t begin = 0;
  std::uint64_t end = 0;    // 0 while pending
  std::uint32_t calls = 0;  // storage calls that it made
  std::uint32_t first_record =
      0;  // its calls' records are among [first_record, last_record), with other processes'
  std::uint32_t last_record = 0;
  // Answers.
  Reading reading = Reading::kWhole;  // get, get_range
  std::int32_t resembles = -1;        // get, get_range: as Identified
  std::uint64_t matches = 0;          // get, get_range: as Identified
  std::uint64_t answer_size = 0;      // get, get_range: bytes returned; list: keys returned
  std::uint64_t listed = 0;           // list: bit i: keys[i] is listed
  bool exists = false;                // exists
  bool well_formed =
      true;  // list: sorted, no key twice, none without the prefix, none that is not the plan's
  std::uint64_t inode =
      0;  // of what stands at the key's path after a put or put_if_absent under a fault
  bool damaged = false;  // something foreign was not as it was placed, once the operation had ended
  std::array<char, 160>
      text{};  // kError: operation and path; list: the first key that should not be there
};

/// What is known of one process beside its operations.
struct ProcessState {
  std::uint64_t end_stamp = 0;  // taken by the parent when the process was reaped
  std::int32_t wait_status = 0;
  bool leaked_descriptor =
      false;  // one was open after the store was closed and not before it was opened
  bool ran = false;
  bool setup_failed = false;  // text of events[0] says why
};

/// One process as it is written down. events[0] is the opening, [i] is operation i - 1.
struct ProcessLog : ProcessState {
  std::array<Event, kMaxOperations + 1> events;
};

/// The same to be judged, without the room that the process had no use for: events are the opening
/// and its operations.
struct ProcessHistory : ProcessState {
  std::vector<Event> events;
};

/// One mapping for the shim's page and the histories; reused from run to run.
struct SharedRun {
  faultinject::SharedPage page;
  std::atomic<std::uint64_t> stamp;
  std::array<ProcessLog, faultinject::kMaxProcesses> logs;
};

/// All that the oracle needs to judge a run.
struct History {
  Plan plan;
  std::vector<Operation> survivor;             // survivor_operations(plan)
  std::vector<std::string> keys;               // keys_of(plan)
  std::vector<Payload> payloads;               // bits of Event::matches
  std::vector<ProcessHistory> processes;       // workers, then survivors
  std::vector<faultinject::CallRecord> calls;  // in order of effect
  std::uint64_t lost_calls = 0;                // calls made beyond the record's capacity
  std::vector<std::string>
      leftovers;  // files in the root that hold payload data and are no listed key, after recovery
  std::string foreign_damage;  // damage_to_foreign_objects at the end
  std::uint64_t crash_tree_hash =
      0;  // of the tree that the workers left, names of temporaries taken as equal
  bool timed_out = false;
  bool stuck = false;  // likewise, and that was not for want of time
  bool deadlocked = false;
  std::uint32_t kills_begun = 0;     // processes that came to where the plan kills them
  std::uint32_t kills = 0;           // those of them that ended by SIGKILL
  std::uint32_t kills_survived = 0;  // planned kills that their process survived
};

}  // namespace crashgate::harness
