// Judges the crash states of traces, in several processes, and keeps what was rejected.
//
// Every job process enumerates all states and judges its share of them, told by the state's hash,
// so jobs need not talk. A pair of tree and acknowledgements is judged once, whatever number of
// models allow it. A state that is rejected is judged again; where it is then accepted the judge is
// flaky.
//
// Then crashgate tests itself: where a trace showed nothing wrong, each of its barriers in turn is
// taken away, and the states that this adds under `posix` are judged. A barrier is *noticed* when
// one of them is rejected, *redundant* when there are none; else the judge is blind to it. Barriers
// that the budget leaves no time for are told as not tested.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "harness/crash_state/barrier_removal.h"
#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/judge/judgement.h"
#include "store/error.h"

namespace crashgate::harness {

/// Materializes a state and judges it. An error: the judge itself failed, and the exploration ends.
using StateJudge = std::function<Result<Judgement>(const CrashState& state)>;

/// One trace to explore; `make_judge` is called once in each job process that explores it.
struct CrashSubject {
  const faultinject::Trace* trace = nullptr;
  std::function<Result<StateJudge>(unsigned job)> make_judge;
  std::set<std::string> models = {};  // of those to be tried; empty: all
};

/// States that were rejected for one cause in one subject. The example is the one that lost least,
/// and of these the one with the earliest crash point, whatever the number of jobs.
struct Rejection {
  std::size_t subject = 0;
  Judgement judgement;
  std::uint64_t count = 0;       // distinct states
  std::set<std::string> models;  // under which at least one of them is possible
  std::string model;             // of the example
  std::size_t crash_point = 0;
  std::size_t acknowledgement_end = 0;
  std::vector<std::uint32_t> lost;
};

/// Between processes.
nlohmann::json to_json(const Rejection& rejection);
Rejection rejection_from_json(const nlohmann::json& json);

struct ModelCount {
  std::uint64_t crash_points = 0;
  std::uint64_t states = 0;  // distinct pairs of tree and acknowledgements that were judged
  bool exhaustive = true;    // ... and these were all of them
  double seconds = 0;
  double seconds_to_first_rejection = -1;  // since the exploration began; -1: none
};

struct CrashExplorationOptions {
  std::vector<const PersistenceModel*> models;
  Basis basis;
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  std::uint64_t state_limit = UINT64_MAX;      // of one subject under one model
  std::uint64_t judgement_limit = UINT64_MAX;  // of all subjects together
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  bool test_barriers = false;
  std::function<void(std::uint64_t states, std::uint64_t subjects_done)> progress = {};
};

struct CrashExploration {
  std::map<std::string, ModelCount> models;
  std::vector<Rejection> rejections;  // in order of subject, then of their examples
  std::vector<BarrierTest> barriers;
  std::uint64_t states = 0;  // judged; of several models together
  std::uint64_t flaky = 0;   // states that were rejected, and then accepted
  std::string flaky_message;
  bool interrupted = false;
};

Result<CrashExploration> explore_crash_states(const std::vector<CrashSubject>& subjects,
                                              const CrashExplorationOptions& options);

/// A rejection in which nothing that is lost can be kept: each lost micro-operation, put back,
/// gives a state that is accepted or rejected for another cause; as far as 500 tries lead, which
/// matters where thousands are lost. Its crash point is the earliest, of the 500 before it, at
/// which the same tree and acknowledgements are possible. Judges in the calling process.
Result<Rejection> minimize_loss(const CrashSubject& subject, const Rejection& rejection,
                                const Basis& basis, const StateJudge& judge);

/// Of `models`, those of the subject under which the example is possible, too: one that was sampled
/// may have missed it.
void add_models_that_allow(Rejection& rejection, const CrashSubject& subject,
                           const std::vector<const PersistenceModel*>& models, const Basis& basis);

}  // namespace crashgate::harness
