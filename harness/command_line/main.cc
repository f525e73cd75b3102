// The command line: words into options. What the verbs do is in their own files.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "harness/command_line/check_command.h"
#include "harness/command_line/doctor_command.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/litmus_command.h"
#include "harness/command_line/replay_command.h"
#include "harness/command_line/shim_command.h"
#include "harness/command_line/verify_command.h"
#include "harness/crash_state/persistence_model.h"
#include "harness/store_under_test.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

struct Budget {
  double seconds = 0;  // 0: none
  std::uint64_t states = 0;
};

// "60s", "10m", "1h" or "20000states" (runs, for verify).
Budget parse_budget(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  struct Unit {
    std::string_view name;
    double seconds;
  };
  constexpr Unit kUnits[] = {{"s", 1}, {"m", 60}, {"h", 3600}};
  const auto* found = std::ranges::find(kUnits, unit, &Unit::name);
  const bool known = unit == "states" || found != std::end(kUnits);
  if (error != std::errc() || number == 0 || number > 1'000'000'000 || !known)
    throw CLI::ValidationError("--budget", "not a budget (60s, 10m, 1h, 20000states): " + text);
  if (unit == "states") return {.states = number};
  return {.seconds = static_cast<double>(number) * found->seconds};
}

std::vector<const PersistenceModel*> parse_models(const std::vector<std::string>& names) {
  std::vector<const PersistenceModel*> chosen;
  for (const auto& name : names) {
    const auto* model = find_model(name);
    if (model == nullptr)
      throw CLI::ValidationError("--model", "no such model: " + name + " (crashgate models)");
    chosen.push_back(model);
  }
  return chosen;
}

std::vector<const PersistenceModel*> all_models() {
  std::vector<const PersistenceModel*> all;
  for (const auto& model : models()) all.push_back(&model);
  return all;
}

// What the verbs that explore have in common.
struct CommonOptions {
  std::uint64_t seed = 1;
  std::optional<std::string> budget;
  unsigned jobs = 1;
  std::string out = ".crashgate";
  std::string json_path;
  bool quiet = false;
  std::vector<std::string> models;
  std::vector<std::string> fail_on;

  void add_to(CLI::App& verb, const std::string& default_budget) {
    jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    verb.add_option("--seed", seed, "seed of what is generated")->capture_default_str();
    verb.add_option(
        "--budget", budget,
        "time or number of states: 60s, 10m, 20000states (default " + default_budget + ")");
    verb.add_option("--jobs", jobs, "processes that explore at once")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    verb.add_option("--out", out, "directory where cases go")->capture_default_str();
    verb.add_option("--json", json_path,
                    "write the report as JSON to this file (-: standard output)");
    verb.add_flag("--quiet", quiet, "say nothing unless something is wrong");
    verb.add_option("--model", models, "persistence models to try (default all; crashgate models)")
        ->delimiter(',');
    verb.add_option("--fail-on", fail_on,
                    "models whose violations make the run fail; others are reported (default all)")
        ->delimiter(',');
  }
};

void take(const CommonOptions& common, const std::string& command, VerifyOptions& options) {
  options.seed = common.seed;
  options.jobs = common.jobs;
  options.out = common.out;
  options.json_path = common.json_path;
  options.quiet = common.quiet;
  options.command = command;
  options.models = common.models.empty() ? all_models() : parse_models(common.models);
  options.fail_on = common.fail_on.empty() ? all_models() : parse_models(common.fail_on);
  if (!common.budget) return;
  const auto budget = parse_budget(*common.budget);
  options.budget_given = true;
  options.budget_seconds = budget.seconds;
  options.run_limit = budget.states;
}

void take(const CommonOptions& common, const std::string& command, CheckCommand& checking) {
  auto& options = checking.check;
  checking.json_path = common.json_path;
  checking.quiet = common.quiet;
  options.seed = common.seed;
  options.jobs = common.jobs;
  options.out = common.out;
  options.command = command;
  options.models = common.models.empty() ? all_models() : parse_models(common.models);
  options.fail_on = common.fail_on.empty() ? all_models() : parse_models(common.fail_on);
  if (!common.budget) return;
  const auto budget = parse_budget(*common.budget);
  options.budget_seconds = budget.seconds;
  options.state_limit = budget.states;
}

struct LitmusWords {
  LitmusCommand command;
  std::optional<std::string> budget;

  CLI::App* add_to(CLI::App& app) {
    auto* verb = app.add_subcommand(
        "litmus", "hold the models against ext4, xfs and btrfs on recorded disks (needs root)");
    command.jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    verb->add_option("--fs", command.file_systems, "file systems (default ext4,xfs,btrfs)")
        ->delimiter(',');
    verb->add_option("--mkfs-options", command.make_options, "words for mkfs");
    verb->add_option("--mount-options", command.mount_options,
                     "what differs from the model is then reported, and no failure");
    verb->add_option("--program", command.programs, "programs whose names contain this")
        ->delimiter(',');
    verb->add_option("--random", command.random, "generated programs beside the table");
    verb->add_flag("--long", command.is_long,
                   "with pauses, idle seconds at the end, and processes that fsync or syncfs all "
                   "the time, instead of what needs no clock; takes minutes a program");
    verb->add_option("--states", command.states_of_a_recording,
                     "disk states of one recording at most (default 400)");
    verb->add_option("--seed", command.seed, "seed of what is generated and sampled")
        ->capture_default_str();
    verb->add_option("--budget", budget, "time: 60s, 10m (default none)");
    verb->add_option("--jobs", command.jobs, "recordings at once")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    verb->add_option("--json", command.json_path,
                     "write the report as JSON to this file (-: standard output)");
    verb->add_flag("--quiet", command.quiet, "say nothing unless something is wrong");
    return verb;
  }
  void take(const std::string& words) {
    command.command = words;
    if (budget) command.budget_seconds = parse_budget(*budget).seconds;
  }
};

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words.front() == "shim") return shim(std::span(words).subspan(1));

  register_production_store();
  CLI::App app{
      "crashgate: is what a program promised still there if it is killed at the worst moment?"};
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.footer(
      "crashgate shim [RULE...] -- PROGRAM ARGUMENT...   run a program under the fault-injection "
      "shim (shim --help)\n"
      "Exit status: 0 no violation, 1 violation, 2 bad usage or input, 3 inconclusive, 4 crashgate "
      "failed.");

  VerifyOptions options;
  CommonOptions verify_common;
  bool list = false;
  auto* verify_app = app.add_subcommand("verify", "test a store with every engine");
  verify_app->add_option("--store", options.store, "store under test, by name")
      ->capture_default_str();
  verify_app->add_flag("--list-stores", list, "list the stores: name, good or bad, what it is");
  verify_app
      ->add_option("--require", options.required_engines,
                   "engines whose skipping makes the run inconclusive")
      ->delimiter(',');
  verify_common.add_to(*verify_app, "45s");

  CheckCommand checking;
  CommonOptions check_common;
  double checker_timeout = 10;
  std::string checker_loop;
  auto* check_app =
      app.add_subcommand("check", "cut the power of any program, and ask a checker what is left");
  check_app
      ->add_option("--workload", checking.check.workload,
                   "command to record, in an empty directory (CRASHGATE_DIR)")
      ->required();
  auto* checker = check_app->add_option(
      "--checker", checking.check.checker.command,
      "command that judges a crash state: its directory is CRASHGATE_DIR, CRASHGATE_STDOUT names "
      "what had been printed; exit status 0 accepts");
  check_app
      ->add_option("--checker-loop", checker_loop,
                   "command that judges many states: reads lines `DIRECTORY<tab>STDOUT_FILE`, "
                   "answers each with `ok` or a reason")
      ->excludes(checker);
  check_app
      ->add_option("--checker-timeout", checker_timeout,
                   "seconds; a checker that hangs is a finding")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  check_app->add_option("--setup", checking.check.setup,
                        "command to run first; what it leaves counts as durable");
  check_app->add_option("--ignore", checking.check.ignored,
                        "files declared disposable: a pattern of their paths");
  check_app->add_flag("--tty", checking.check.terminal, "give the workload a terminal");
  check_app->add_flag("--stacks", checking.check.stacks, "record where each call comes from");
  check_app
      ->add_option("--blocks", checking.check.basis.blocks,
                   "runs of blocks that a write is cut into")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  check_app
      ->add_option("--tears", checking.check.basis.tears,
                   "sector boundaries at which a block tears")
      ->check(CLI::Range(0, 7))
      ->capture_default_str();
  check_common.add_to(*check_app, "60s");

  LitmusWords litmus_words;
  auto* litmus_app = litmus_words.add_to(app);

  auto* models_app = app.add_subcommand("models", "list the persistence models");
  auto* doctor_app = app.add_subcommand("doctor", "what this machine can run");

  std::string case_path;
  bool quiet = false;
  auto* replay_app = app.add_subcommand("replay", "run a saved finding again");
  replay_app->add_option("case", case_path, "the case's directory")->required();
  replay_app->add_flag("--quiet", quiet, "only the exit status");

  std::string command;
  for (const auto& word : words) command += (command.empty() ? "" : " ") + word;
  try {
    app.parse(argc, argv);
    if (verify_app->parsed()) take(verify_common, command, options);
    if (litmus_app->parsed()) litmus_words.take(command);
    if (check_app->parsed()) {
      if (checking.check.checker.command.empty() && checker_loop.empty())
        throw CLI::RequiredError("--checker");
      if (!checker_loop.empty()) {
        checking.check.checker.command = checker_loop;
        checking.check.checker.loop = true;
      }
      checking.check.checker.timeout =
          std::chrono::milliseconds(static_cast<std::int64_t>(checker_timeout * 1000));
      take(check_common, command, checking);
    }
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    if (!words.empty() && !words.front().starts_with('-') &&
        app.get_subcommands([&](const CLI::App* verb) { return verb->get_name() == words.front(); })
            .empty()) {
      fmt::print(stderr, "crashgate: no such verb: {} (--help tells more)\n", words.front());
      return kExitBadInput;
    }
    fmt::print(stderr, "crashgate: {} (--help tells more)\n", error.what());
    return kExitBadInput;
  }
  if (replay_app->parsed()) return replay(case_path, quiet);
  if (check_app->parsed()) return check(std::move(checking));
  if (models_app->parsed()) return list_models();
  if (doctor_app->parsed()) return doctor();
  if (litmus_app->parsed()) return litmus(litmus_words.command);
  return list ? list_stores() : verify(options);
}

}  // namespace
}  // namespace crashgate::harness

int main(int argc, char** argv) {
  try {
    return crashgate::harness::run(argc, argv);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "crashgate: {}\n", exception.what());
    return crashgate::harness::kExitFailed;
  }
}
