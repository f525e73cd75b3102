#include "harness/command_line/check_options.h"

#include <algorithm>
#include <chrono>

#include "harness/disk/file_system.h"
#include "harness/disk/system_program.h"

namespace crashgate::harness {
namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

}  // namespace

void CheckWords::add_to(CLI::App& verb) {
  verb.add_option("--workload", checking_.check.workload,
                  "command to record, in an empty directory (CRASHGATE_DIR)")
      ->required();
  auto* checker = verb.add_option(
      "--checker", checking_.check.checker.command,
      "command that judges a crash state: its directory is CRASHGATE_DIR, CRASHGATE_STDOUT names "
      "what had been printed; exit status 0 accepts");
  verb.add_option("--checker-loop", checker_loop_,
                  "command that judges many states: reads lines `DIRECTORY<tab>STDOUT_FILE`, "
                  "answers each with `ok` or a reason")
      ->excludes(checker);
  verb.add_option("--recover", checking_.check.checker.recover,
                  "command that runs before the checker, in each crash state, as it would when "
                  "the program starts again; must exit 0. It is recorded, too, and cut by a "
                  "second power loss; after that it runs again");
  verb.add_option("--checker-timeout", checker_timeout_,
                  "seconds; a checker or a recovery that hangs is a finding")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  verb.add_option("--setup", checking_.check.setup,
                  "command to run first; what it leaves counts as durable");
  verb.add_option("--workload-timeout", workload_timeout_,
                  "seconds that setup and workload may take, each; 0: no limit")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  verb.add_option("--recorder", recorder_,
                  "ptrace: sees all; preload: fast, and inconclusive where it is known not to have "
                  "seen all")
      ->check(CLI::IsMember({"ptrace", "preload"}))
      ->capture_default_str();
  verb.add_option("--ignore", checking_.check.ignored,
                  "files declared disposable: a pattern of their paths");
  verb.add_flag("--tty", checking_.check.terminal, "give the workload a terminal");
  verb.add_flag("--stacks", checking_.check.stacks, "record where each call comes from");
  verb.add_option("--blocks", checking_.check.basis.blocks,
                  "runs of blocks that a write is cut into")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb.add_option("--tears", checking_.check.basis.tears,
                  "sector boundaries at which a block tears")
      ->check(CLI::Range(0, 7))
      ->capture_default_str();
  auto* disk = verb.add_option("--disk", disks_,
                               "run it on recorded disks of these file systems, too, and judge "
                               "what they recover: ext4, xfs, btrfs (root, FUSE, loop devices)");
  disk->delimiter(',');
  verb.add_option("--mkfs-options", make_options_, "words for mkfs, for every --disk")->needs(disk);
  verb.add_option("--mount-options", mount_options_, "as of mount -o, for every --disk")
      ->needs(disk);
  verb.add_flag("--fsck", checking_.check.check_file_system,
                "let the file system's own check look at every disk state")
      ->needs(disk);
}

std::vector<FileSystemChoice> CheckWords::disks() const {
  std::vector<FileSystemChoice> chosen;
  for (const auto& name : disks_) {
    const auto* file_system = find_file_system(name);
    if (file_system == nullptr)
      throw CLI::ValidationError("--disk", "no such file system: " + name + " (ext4, xfs, btrfs)");
    if (std::ranges::find(chosen, file_system, &FileSystemChoice::file_system) != chosen.end())
      continue;
    chosen.push_back({.file_system = file_system,
                      .make_options = split_words(make_options_),
                      .mount_options = mount_options_});
  }
  return chosen;
}

CheckCommand CheckWords::take() const {
  auto checking = checking_;
  auto& check = checking.check;
  if (check.checker.command.empty() && checker_loop_.empty()) throw CLI::RequiredError("--checker");
  if (!checker_loop_.empty()) {
    check.checker.command = checker_loop_;
    check.checker.loop = true;
  }
  check.checker.timeout = milliseconds(checker_timeout_);
  check.recorder = recorder_ == "preload" ? Recorder::kPreload : Recorder::kPtrace;
  check.workload_timeout = milliseconds(workload_timeout_);
  check.disks = disks();
  return checking;
}

}  // namespace crashgate::harness
