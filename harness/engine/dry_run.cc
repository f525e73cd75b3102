#include "harness/engine/dry_run.h"

#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {

Result<DryRun> dry_run(const StoreEntry& store, const std::vector<Plan>& plans,
                       const std::string& directory) {
  auto scratch = ScratchDirectory::create_in(directory);
  if (!scratch) return tl::unexpected(scratch.error());
  auto runner = Runner::create(store, scratch->path());
  if (!runner) return tl::unexpected(runner.error());
  std::atomic<std::uint64_t> progress{0};
  SharedHashSet states;
  Job job(std::move(*runner), Clock::now(), &progress, &states);
  DryRun result;
  for (const auto& plan : plans) {
    const History* history = job.run(plan, false);
    if (history == nullptr) return tl::unexpected(*job.error());
    result.histories.push_back(*history);
  }
  result.tally = job.tally();
  return result;
}

}  // namespace crashgate::harness
