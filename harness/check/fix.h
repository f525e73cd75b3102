// Looks for the barriers that a finding calls for: adds an fsync of what was lost to the recording,
// enumerates again, and where a state is still rejected for the same cause adds what that one calls
// for, until none is. Then drops each barrier without which none is, either.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "harness/crash_state/crash_exploration.h"

namespace crashgate::harness {

/// An fsync of `file`, a file or a directory, right after an event.
struct AddedBarrier {
  std::size_t after = 0;
  faultinject::FileId file = faultinject::kNoFile;
};

struct Fix {
  std::vector<AddedBarrier> barriers;  // by event
  std::uint64_t states = 0;  // distinct pairs of tree and acknowledgements tried with them
  bool verified = false;     // ... were all, under each of the finding's models
};

/// Between processes.
nlohmann::json to_json(const Fix& fix);
Fix fix_from_json(const nlohmann::json& json);

struct FixLimits {
  std::size_t barriers = 4;
  std::uint64_t states = 2000;  // of each model
  std::chrono::milliseconds time{5000};
  std::size_t trace_bytes = std::size_t{64} << 20;  // each try copies the trace
};

/// Nothing where so few barriers do not help, or the limits end the search before a state was
/// accepted in all that was tried. Judges in the calling process; `tried` keeps the traces whose
/// bytes the judge may remember, and must outlive it.
Result<std::optional<Fix>> find_fix(const CrashSubject& subject, const Rejection& rejection,
                                    const Basis& basis, const StateJudge& judge,
                                    std::deque<faultinject::Trace>& tried,
                                    const FixLimits& limits = {});

/// The trace as it would be with them.
faultinject::Trace with_barriers(const faultinject::Trace& trace,
                                 const std::vector<AddedBarrier>& barriers);

}  // namespace crashgate::harness
