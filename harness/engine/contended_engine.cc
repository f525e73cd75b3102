// Contended engine: generated plans, round after round. Two to four workers with a mix of
// operations on keys that they share; some are killed, or have a call fail or fall short, at drawn
// storage calls, and the turn changes at drawn steps, while the others go on. Sampled by nature:
// the report says how many rounds were run. Round N of a seed is always the same plan.

#include "harness/engine/engine.h"
#include "harness/engine/generator.h"

namespace crashgate::harness {

Result<EngineResult> run_contended_engine(const StoreEntry& store, const EngineOptions& options) {
  constexpr std::uint64_t kRounds = 5000;  // unless the budget says otherwise
  EngineResult result{.name = "contended"};
  const auto why_no_namespaces = why_no_pid_namespaces();
  if (!why_no_namespaces.empty())
    result.left_out = "equal process ids, since there is no " + why_no_namespaces;
  const auto run_round = [&](Job& job, std::uint64_t round) {
    job.run(generate_plan(options.seed, round, why_no_namespaces.empty()), false);
  };
  const auto rounds = options.unbounded ? UINT64_MAX : kRounds;
  auto explored = explore(store, rounds, run_round, options.explore);
  if (!explored) return tl::unexpected(explored.error());
  result.exploration = std::move(*explored);
  result.basis = std::to_string(result.exploration.units_done) + " generated rounds";
  return result;
}

}  // namespace crashgate::harness
