// The command line: words into options. What the verbs do is in their own files.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "harness/command_line/check_command.h"
#include "harness/command_line/check_options.h"
#include "harness/command_line/common_options.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/replay_command.h"
#include "harness/command_line/shim_command.h"
#include "harness/command_line/verify_command.h"
#include "harness/store_under_test.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

void take(const CommonOptions& common, const std::string& command, VerifyOptions& options) {
  options.seed = common.seed;
  options.jobs = common.jobs;
  options.out = common.out;
  options.json_path = common.json_path;
  options.quiet = common.quiet;
  options.command = command;
  options.models = common.models();
  options.fail_on = common.fail_on();
  const auto budget = common.budget();
  if (!budget) return;
  options.budget_given = true;
  options.budget_seconds = budget->seconds;
  options.run_limit = budget->states;
}

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

  CheckWords check_words(app);

  auto* models_app = app.add_subcommand("models", "list the persistence models");

  std::string case_path;
  bool quiet = false;
  auto* replay_app = app.add_subcommand("replay", "run a saved finding again");
  replay_app->add_option("case", case_path, "the case's directory")->required();
  replay_app->add_flag("--quiet", quiet, "only the exit status");

  CheckCommand checking;
  std::string command;
  for (const auto& word : words) command += (command.empty() ? "" : " ") + word;
  try {
    app.parse(argc, argv);
    if (verify_app->parsed()) take(verify_common, command, options);
    if (check_words.parsed()) checking = check_words.command(command);
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
  if (check_words.parsed()) return check(std::move(checking));
  if (models_app->parsed()) return list_models();
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
