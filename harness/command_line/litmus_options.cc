#include "harness/command_line/litmus_options.h"

#include <unistd.h>

#include <algorithm>

#include "harness/command_line/common_options.h"

namespace crashgate::harness {

void LitmusWords::add_to(CLI::App& verb) {
  command_.jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  verb.add_option("--fs", command_.file_systems, "file systems (default ext4,xfs,btrfs)")
      ->delimiter(',');
  verb.add_option("--mkfs-options", command_.make_options, "words for mkfs");
  verb.add_option("--mount-options", command_.mount_options,
                  "comma-separated; with options of your own, what differs from the model is "
                  "reported and is no failure");
  verb.add_option("--program", command_.programs, "programs whose names contain this")
      ->delimiter(';');
  verb.add_option("--random", command_.random, "generated programs beside the table")
      ->check(whole_number());
  verb.add_flag("--long", command_.is_long,
                "with pauses, idle seconds at the end, and processes that fsync or syncfs all "
                "the time, instead of what needs no clock; takes a minute a recording");
  verb.add_option("--states", command_.states_of_a_recording,
                  "disk states of one recording at most (default 400)")
      ->check(whole_number());
  verb.add_option("--seed", command_.seed, "seed of what is generated and sampled")
      ->check(whole_number())
      ->capture_default_str();
  verb.add_option("--budget", budget_, "time: 60s, 10m (default none)");
  verb.add_option("--jobs", command_.jobs, "recordings at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verb.add_option("--json", command_.json_path,
                  "write the report as JSON to this file (-: standard output)");
  refuse_ignore(verb, "litmus compares all files of its programs");
  verb.add_flag("--quiet", command_.quiet, "say nothing unless something is wrong");
}

LitmusCommand LitmusWords::take(const std::string& words) const {
  auto taken = command_;
  taken.command = words;
  if (!budget_) return taken;
  const auto budget = parse_budget(*budget_);
  if (budget.states > 0)
    throw CLI::ValidationError(
        "--budget", "litmus takes a time (60s, 10m); --states limits the states of a recording");
  taken.budget_seconds = budget.seconds;
  return taken;
}

}  // namespace crashgate::harness
