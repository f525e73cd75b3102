#include "harness/command_line/check_options.h"

#include <chrono>
#include <cstdint>

namespace crashgate::harness {
namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

}  // namespace

CheckWords::CheckWords(CLI::App& app)
    : verb_(app.add_subcommand("check",
                               "cut the power of any program, and ask a checker what is left")) {
  auto& check = command_.check;
  verb_
      ->add_option("--workload", check.workload,
                   "command to record, in an empty directory (CRASHGATE_DIR)")
      ->required();
  auto* checker = verb_->add_option(
      "--checker", check.checker.command,
      "command that judges a crash state: its directory is CRASHGATE_DIR, CRASHGATE_STDOUT names "
      "what had been printed; exit status 0 accepts");
  verb_
      ->add_option("--checker-loop", checker_loop_,
                   "command that judges many states: reads lines `DIRECTORY<tab>STDOUT_FILE`, "
                   "answers each with `ok` or a reason")
      ->excludes(checker);
  verb_->add_option("--recover", check.checker.recover,
                    "command that runs before the checker, in each crash state, as it would when "
                    "the program starts again; must exit 0. It is recorded, too, and cut by a "
                    "second power loss; after that it runs again");
  verb_
      ->add_option("--checker-timeout", checker_timeout_,
                   "seconds; a checker or a recovery that hangs is a finding")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  verb_->add_option("--setup", check.setup,
                    "command to run first; what it leaves counts as durable");
  verb_
      ->add_option("--workload-timeout", workload_timeout_,
                   "seconds that setup and workload may take, each; 0: no limit")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  verb_
      ->add_option(
          "--recorder", recorder_,
          "ptrace: sees all; preload: fast, and inconclusive where it is known not to have "
          "seen all")
      ->check(CLI::IsMember({"ptrace", "preload"}))
      ->capture_default_str();
  verb_->add_option("--ignore", check.ignored,
                    "files declared disposable: a pattern of their paths");
  verb_->add_flag("--tty", check.terminal, "give the workload a terminal");
  verb_->add_flag("--stacks", check.stacks, "record where each call comes from");
  verb_->add_option("--blocks", check.basis.blocks, "runs of blocks that a write is cut into")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb_->add_option("--tears", check.basis.tears, "sector boundaries at which a block tears")
      ->check(CLI::Range(0, 7))
      ->capture_default_str();
  common_.add_to(*verb_, "60s");
}

CheckCommand CheckWords::command(const std::string& command_line) const {
  CheckCommand command = command_;
  auto& check = command.check;
  if (check.checker.command.empty() && checker_loop_.empty()) throw CLI::RequiredError("--checker");
  if (!checker_loop_.empty()) {
    check.checker.command = checker_loop_;
    check.checker.loop = true;
  }
  check.checker.timeout = milliseconds(checker_timeout_);
  check.recorder = recorder_ == "preload" ? Recorder::kPreload : Recorder::kPtrace;
  check.workload_timeout = milliseconds(workload_timeout_);
  command.json_path = common_.json_path;
  command.quiet = common_.quiet;
  check.seed = common_.seed;
  check.jobs = common_.jobs;
  check.out = common_.out;
  check.command = command_line;
  check.models = common_.models();
  check.fail_on = common_.fail_on();
  if (const auto budget = common_.budget()) {
    check.budget_seconds = budget->seconds;
    check.state_limit = budget->states;
  }
  return command;
}

}  // namespace crashgate::harness
