#include "harness/command_line/litmus_options.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>

namespace crashgate::harness {

CLI::App* add_litmus_verb(CLI::App& app, LitmusCommand& command) {
  auto* verb = app.add_subcommand(
      "litmus", "hold the models against ext4, xfs and btrfs on recorded disks (needs root)");
  command.jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  verb->add_option("--fs", command.file_systems, "file systems (default ext4,xfs,btrfs)")
      ->delimiter(',');
  verb->add_option("--mkfs-options", command.make_options, "words for mkfs");
  verb->add_option("--mount-options", command.mount_options,
                   "comma-separated; with options of your own, what differs from the model is "
                   "reported and is no failure");
  verb->add_option("--program", command.programs, "programs whose names contain this")
      ->delimiter(';');
  verb->add_option("--random", command.random, "generated programs beside the table");
  verb->add_flag("--long", command.is_long,
                 "with pauses, idle seconds at the end, and processes that fsync or syncfs all the "
                 "time, instead of what needs no clock; takes a minute a recording");
  verb->add_option("--states", command.states_of_a_recording,
                   "disk states of one recording at most (default 400)");
  verb->add_option("--seed", command.seed, "seed of what is generated and sampled")
      ->capture_default_str();
  verb->add_option("--budget", command.budget_seconds, "time: 60s, 10m, 1h (default: none)")
      ->transform(
          CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"m", 60}, {"h", 3600}}));
  verb->add_option("--jobs", command.jobs, "recordings at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verb->add_option("--json", command.json_path,
                   "write the report as JSON to this file (-: standard output)");
  verb->add_flag("--quiet", command.quiet, "say nothing unless something is wrong");
  return verb;
}

}  // namespace crashgate::harness
